"""The pictures of the README: made when they are missing, or when SAFE_CLEAR_SCREENSHOTS is set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import address, confirm, open_tab, preview, the_frame
from tests.support.server import REPOSITORY

DAGS = Path(__file__).parent / "sales_dags"
PICTURES = REPOSITORY / "docs" / "screenshots"
MODES = ("light", "dark")
PAGES = ("select", "plan", "stale", "progress", "result", "undo", "plans")
NAMES = [f"{page}-{mode}" for page in PAGES for mode in MODES]
NAMES += ["plan-narrow-light", "result-narrow-light"]
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
    server = make_airflow_server(dags=DAGS, AIRFLOW__SAFE_CLEAR__BATCH_SIZE="5")
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


def picture(page, name: str, state: str = "networkidle") -> None:
    """Take the picture once nothing moves any more."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{name}.png"
    page.mouse.move(0, 0)
    page.wait_for_load_state(state)
    page.screenshot(path=file, animations="disabled", caret="hide", scale="css")
    assert 20_000 < file.stat().st_size < MOST_BYTES


def in_both_modes(page, name: str, state: str = "networkidle") -> None:
    """Take the picture in light and, after Airflow's own switch, in dark."""
    for mode in MODES:
        page.evaluate(
            "mode => { const { classList, style } = document.documentElement;"
            " classList.remove('light', 'dark'); classList.add(mode); style.colorScheme = mode; }",
            mode,
        )
        expect(page.frame_locator("iframe").locator("html")).to_have_class(mode)
        picture(page, f"{name}-{mode}", state)


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
    narrow_picture(sales_server, open_page, plan_url_in(page), "plan-narrow-light")

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
    let_pass = hold_batches(page)
    confirm(frame, "Finance sent corrected FX rates, INC-4127")
    let_pass(2)
    expect(frame.get_by_role("heading", level=1)).to_have_text("Clearing: 15 of 30 task instances")
    in_both_modes(page, "progress", "load")  # one request is held
    frame.get_by_role("button", name="Stop after this batch").click()
    let_pass(1)
    expect(frame.get_by_text("Stopped by admin")).to_be_visible()
    rerun_so_far(execute)
    frame.get_by_role("link", name="Refresh").click()
    expect(frame.locator("#progress .legend")).to_contain_text("Running")
    in_both_modes(page, "result")
    receipt_url = plan_url_in(page)
    narrow_picture(sales_server, open_page, receipt_url, "result-narrow-light")

    frame.get_by_role("link", name="Undo…").click()
    expect(frame.get_by_role("button", name="Put back ")).to_be_visible()
    in_both_modes(page, "undo")
    other_plans(sales_server)
    frame.get_by_role("link", name="Plans").click()
    expect(frame.locator("table.plans tbody tr")).to_have_count(6)
    in_both_modes(page, "plans")


def plan_url_in(page) -> str:
    return next(one.url for one in page.frames if "/safe_clear/plans/" in one.url)


def hold_batches(page) -> Callable[[int], None]:
    """Hold the batches that the page sends; the function returned lets so many pass, one after the other."""
    arrived: list[Any] = []

    def arrives(route) -> None:
        if route.request.resource_type == "fetch":
            arrived.append(route)
        else:
            route.fallback()

    def let_pass(count: int) -> None:
        for _ in range(count):
            while not arrived:
                page.wait_for_timeout(20)
            arrived.pop(0).fallback()

    page.route(re.compile("/apply$"), arrives)
    return let_pass


def confirmation(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what confirms a plan: its fingerprint, what is to be ticked, and its DAG id."""
    ticked = [finding["code"] for finding in plan["findings"] if finding["level"] == "acknowledge"]
    return {
        "fingerprint": plan["fingerprint"],
        "acknowledge": ticked,
        "confirm_dag_id": plan["dag_id"],
    }


def other_plans(server) -> None:
    """Leave a few more plans with other ends for the list."""
    day = datetime.now(timezone.utc).date() - timedelta(days=9)

    def post(path: str, **body: object) -> dict[str, Any]:
        return server.api("POST", f"/pluginsv2/safe_clear/plans{path}", json=body).json()

    for task_regex, reason, changes in (
        ("", "reload after the schema change", ("apply",)),
        ("^report", "I mixed the date", ("apply", "undo")),
        (r"^transform\.", "", ()),
        ("^extract", "late ledger", ("apply", "apply")),
    ):
        plan = post("", dag_id="sales_etl", task_regex=task_regex, date_from=str(day), date_to=str(day))
        for change in changes:
            confirmed = confirmation(plan) if change == "apply" else {}
            post(f"/{plan['id']}/{change}", reason=reason, **confirmed)


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


def narrow_picture(server, open_page, plan_url: str, name: str) -> None:
    page = open_page(server, viewport=NARROW, color_scheme="light")
    page.goto(plan_url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert plan_url.startswith(address(server, "plans/"))
    picture(page, name)
