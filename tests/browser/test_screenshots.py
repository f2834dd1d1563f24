"""The pictures of the README: made when they are missing, or when SAFE_CLEAR_SCREENSHOTS is set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import address, confirm, confirm_button, open_tab, preview, the_frame
from tests.support.server import REPOSITORY

DAGS = Path(__file__).parent / "sales_dags"
PICTURES = REPOSITORY / "docs" / "screenshots"
MODES = ("light", "dark")
NAMES = [f"{page}-{mode}" for page in ("select", "plan", "stale", "result") for mode in MODES]
NAMES.append("plan-narrow-light")
MOST_BYTES = 250_000
WIDTH, HEIGHT = 1300, 1000
NARROW = {"width": 390, "height": 844}
# The re-run that the result page shows, as a scheduler that has just begun with it would leave it.
RERUN_SO_FAR = {
    "load.per_region": ("success", "running", "success"),
    "load.publish": ("success", None, "queued"),
    "report.daily": ("running", None, None),
}

pytestmark = pytest.mark.skipif(
    not os.environ.get("SAFE_CLEAR_SCREENSHOTS")
    and all((PICTURES / f"{name}.png").exists() for name in NAMES),
    reason="the screenshots are there; SAFE_CLEAR_SCREENSHOTS=1 makes them anew",
)


@pytest.fixture(scope="module")
def sales_server(make_airflow_server):
    """Start the api-server alone with the DAG of the pictures, so that no state moves by itself."""
    server = make_airflow_server(dags=DAGS)
    server.prepare("tests.browser.prepare", "sales")
    server.start(components=(), dag_ids=("sales_etl",))
    return server


@pytest.fixture(scope="module")
def execute(sales_server):
    """Return a function that runs a statement on the server's metadata database and commits it."""
    engine = create_engine(sales_server.sqlalchemy_url)

    def execute(statement: str, **values: object) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), values)

    yield execute
    engine.dispose()


def picture(page, name: str) -> None:
    """Take the picture once nothing moves any more."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{name}.png"
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=file, animations="disabled", caret="hide", scale="css")
    assert 20_000 < file.stat().st_size < MOST_BYTES


def in_both_modes(page, name: str) -> None:
    """Take the picture in light and, after Airflow's own switch, in dark."""
    for mode in MODES:
        page.evaluate(
            "mode => { const { classList, style } = document.documentElement;"
            " classList.remove('light', 'dark'); classList.add(mode); style.colorScheme = mode; }",
            mode,
        )
        expect(page.frame_locator("iframe").locator("html")).to_have_class(mode)
        picture(page, f"{name}-{mode}")


def test_screenshots(sales_server, open_page, execute):
    page = open_page(sales_server, viewport={"width": WIDTH, "height": HEIGHT})
    frame = open_tab(sales_server, page, "/dags/sales_etl")
    frame.get_by_role("button", name="Last 7 days").click()
    frame.locator("[name=task_regex]").fill("^load")
    frame.locator("[name=include_downstream][type=checkbox]").check()
    frame.get_by_role("button", name="Only failed").click()
    frame.get_by_role("heading", level=1).click()
    in_both_modes(page, "select")

    preview(frame)
    in_both_modes(page, "plan")
    plan_url = next(one.url for one in page.frames if "/safe_clear/plans/" in one.url)
    narrow_picture(sales_server, open_page, plan_url)

    execute(
        "UPDATE task_instance SET state = 'success', try_number = 4 WHERE dag_id = 'sales_etl'"
        " AND task_id = 'load.per_region' AND state = 'failed'"
        " AND run_id = (SELECT max(run_id) FROM dag_run WHERE state = 'failed')"
    )
    confirm(frame)
    expect(frame.get_by_role("heading", level=1)).to_contain_text("Nothing was cleared")
    in_both_modes(page, "stale")

    page.goto(f"{sales_server.url}/dags/sales_etl")
    page.get_by_role("link", name="Safe Clear").click()
    frame = the_frame(page)
    frame.get_by_role("button", name="Last 7 days").click()
    preview(frame, task_regex="^(load|report)")
    confirm(frame, "Finance sent corrected FX rates, INC-4127")
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()
    rerun_so_far(execute)
    expect(frame.locator("#progress .legend")).to_contain_text("Running", timeout=20_000)
    in_both_modes(page, "result")


def rerun_so_far(execute) -> None:
    for task_id, states in RERUN_SO_FAR.items():
        for offset, state in enumerate(states):
            execute(
                "UPDATE task_instance SET state = :state WHERE dag_id = 'sales_etl' AND task_id = :task_id"
                " AND run_id = (SELECT run_id FROM dag_run WHERE dag_id = 'sales_etl' AND state = 'queued'"
                " ORDER BY logical_date OFFSET :offset LIMIT 1)",
                state=state,
                task_id=task_id,
                offset=offset,
            )


def narrow_picture(server, open_page, plan_url: str) -> None:
    page = open_page(server, viewport=NARROW, color_scheme="light")
    page.goto(plan_url)
    expect(confirm_button(page)).to_be_visible()
    assert plan_url.startswith(address(server, "plans/"))
    picture(page, "plan-narrow-light")
