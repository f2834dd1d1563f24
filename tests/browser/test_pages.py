"""Every page, wide and dark in Airflow's UI, narrow and light without it: axe finds nothing, and it fits.

With ``--full`` a picture of each is taken, in both modes, and goes to test-results/screenshots.
SAFE_CLEAR_SCREENSHOTS=1 takes them too, and refreshes docs/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, confirm, open_tab, preview, the_frame
from tests.browser.gate import Gate
from tests.support.options import chosen
from tests.support.server import REPOSITORY, AirflowServer

DAGS = Path(__file__).parent / "sales_dags"
TODAY = datetime.now(timezone.utc).date()
"""To the end of the tests, whatever time they run at."""
PICTURES = REPOSITORY / "test-results" / "screenshots"
OF_THE_DOCS = REPOSITORY / "docs" / "screenshots"
REFRESHING = bool(os.environ.get("SAFE_CLEAR_SCREENSHOTS"))
PICTURING = chosen.full or REFRESHING
MODES = ("light", "dark")
CHECKED_WIDE, CHECKED_NARROW = "dark", "light"
MIN_BYTES, MAX_BYTES = 20_000, 250_000
WIDTH, HEIGHT = 1300, 1000
NARROW = {"width": 390, "height": 844}
APPROVE_ABOVE, MOST = 40, 80
"""Task instances: a week of the DAG is below the first, the whole of it above the second."""
HAPPENED = 6
"""Plans that were confirmed, undone or declined; the others are drafts."""
# The re-run that the result page shows, as a scheduler that has just begun with it would leave it.
RERUN_SO_FAR = {
    "load.per_region": ("success", "running", "success"),
    "load.publish": ("success", None, "queued"),
    "report.daily": ("running", None, None),
}


@pytest.fixture(scope="module")
def sales_server(make_airflow_server):
    """Start the api-server alone with the DAG of the pictures, so that no state moves by itself."""
    server = make_airflow_server(
        dags=DAGS,
        AIRFLOW__SAFE_CLEAR__BATCH_SIZE="5",
        AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE=str(APPROVE_ABOVE),
        AIRFLOW__SAFE_CLEAR__MAX_TASK_INSTANCES=str(MOST),
    )
    server.prepare("tests.browser.prepare", "sales", str(TODAY))
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


class Look:
    """Looks at pages: each as it stands in Airflow's UI, and by itself on a narrow screen."""

    def __init__(self, server: AirflowServer, open_page: Callable[..., Page]) -> None:
        modes = MODES if PICTURING else (CHECKED_NARROW,)
        self._narrow = {mode: open_page(server, viewport=NARROW, color_scheme=mode) for mode in modes}
        self.troubles = Troubles()
        for page in self._narrow.values():
            self.troubles.watch(page)

    def __call__(self, page: Page, name: str, *, again: bool = True, url: str = "") -> None:
        """Check the page in the frame and, if it can be opened ``again`` by an address, narrow."""
        url = url or the_page(page).url
        for mode in MODES if PICTURING else (CHECKED_WIDE,):
            page.evaluate(
                "mode => { const { classList, style } = document.documentElement;"
                " classList.remove('light', 'dark'); classList.add(mode); style.colorScheme = mode; }",
                mode,
            )
            expect(page.frame_locator("iframe").locator("html")).to_have_class(mode)
            page.mouse.move(0, 0)
            settled(the_page(page))
            picture(page, f"{name}-{mode}")
        accessible(the_page(page), f"{name} wide {CHECKED_WIDE}")
        for mode, narrow in self._narrow.items() if again else ():
            narrow.goto(url)
            expect(narrow.get_by_role("heading", level=1)).to_be_visible()
            settled(narrow)
            picture(narrow, f"{name}-narrow-{mode}")
            if mode == CHECKED_NARROW:
                accessible(narrow, f"{name} narrow {mode}")
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert narrow.evaluate(wide) == 0, f"{name} does not fit a narrow screen"
            # A page that follows a clear loads itself again, which would get into the way of the next look.
            narrow.goto("about:blank")


def settled(page: Any) -> None:
    """Wait until a page is all there, with what its scripts ask for."""
    page.wait_for_load_state("load")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def accessible(page: Any, name: str) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, f"{name}\n{found.generate_report()}"


def picture(page: Page, name: str) -> None:
    """Take the picture once nothing moves any more, if pictures are wanted."""
    if not PICTURING:
        return
    file = PICTURES / f"{name}.png"
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, animations="disabled", caret="hide", scale="css")
    assert MIN_BYTES < file.stat().st_size < MAX_BYTES, name
    in_the_docs = OF_THE_DOCS / file.name
    if in_the_docs.exists() and REFRESHING:
        shutil.copyfile(file, in_the_docs)


def the_page(page: Page) -> Any:
    """Return our page within Airflow's, as something that can be told where to go."""
    return next(one for one in page.frames if "/safe_clear/" in one.url)


def show(server: AirflowServer, page: Page, plan: dict[str, Any]) -> Any:
    """Open a plan in Safe Clear's tab of its DAG."""
    return go(server, page, f"plans/{plan['id']}")


def go(server: AirflowServer, page: Page, to: str) -> Any:
    """Open a page of ours in Safe Clear's tab of the DAG."""
    open_tab(server, page, "/dags/sales_etl")
    the_page(page).goto(address(server, to))
    return the_frame(page)


def test_every_page(sales_server, open_page, execute):
    look = Look(sales_server, open_page)
    page = open_page(sales_server, viewport={"width": WIDTH, "height": HEIGHT})
    look.troubles.watch(page)
    selecting(sales_server, page, look)
    limits(sales_server, page, look, open_page)
    clearing(sales_server, page, look, execute)
    afterwards(sales_server, page, look)
    # Pages that refuse something are among them.
    assert [one for one in look.troubles.found if not re.search(r"\b4(04|09|22)\b", one)] == []


def selecting(server, page, look) -> None:
    frame = go(server, page, "select?dag_id=sales_etl")
    frame.get_by_role("button", name="Last 7 days").click()
    frame.locator("[name=task_regex]").fill("^load(")
    frame.get_by_role("button", name="Preview").click()
    expect(frame.get_by_role("heading", name="problem to continue")).to_be_visible()
    look(page, "select-mistake", again=False)
    frame = go(server, page, "select?dag_id=sales_etl")
    frame.get_by_role("button", name="Last 7 days").click()
    frame.locator("[name=task_regex]").fill("^load")
    frame.get_by_role("heading", level=1).click()
    expect(frame.locator("[data-answer=bar]")).to_contain_text("task instances in")
    query = f"?dag_id=sales_etl&task_regex=^load&date_from={days_ago(6)}&date_to={days_ago(0)}"
    look(page, "select", url=address(server, query))
    preview(frame)
    look(page, "plan")
    frame.locator(".finding details summary").first.click()
    frame.get_by_role("link", name=re.compile("^Show the")).first.click()
    expect(frame.get_by_role("link", name="Back to the plan")).to_be_visible()
    look(page, "finding")


def limits(server, page, look, open_page) -> None:
    """A plan that is refused, one that waits for a second person, and what they make of it."""
    refused = plan_of(server, date_from="2026-01-01")
    show(server, page, refused)
    look(page, "refused")
    waiting = plan_of(server, date_from=days_ago(8), date_to=days_ago(3))
    frame = show(server, page, waiting)
    expect(frame.get_by_role("button", name="Give a reason")).to_be_visible()
    look(page, "approval-ask")
    api(server, f"/{waiting['id']}/ask", reason="Finance sent corrected FX rates, INC-4127")
    other = open_page(server, "operator", viewport={"width": WIDTH, "height": HEIGHT})
    show(server, other, waiting)
    look(other, "approval", again=False)
    api(server, f"/{waiting['id']}/decline", reason="INC-4127 is about another week")
    show(server, page, waiting)
    look(page, "declined")


def clearing(server, page, look, execute) -> None:
    stale = plan_of(server, task_regex="^load", date_from=days_ago(6), date_to=days_ago(1))
    execute(
        "UPDATE task_instance SET state = 'success', try_number = 4 WHERE dag_id = 'sales_etl'"
        " AND task_id = 'load.per_region' AND state = 'failed'"
        " AND run_id = (SELECT max(run_id) FROM dag_run WHERE state = 'failed')"
    )
    assert "drift" in api(server, f"/{stale['id']}/apply", **confirmation(stale))
    show(server, page, stale)
    look(page, "stale")

    plan = plan_of(server, task_regex="^(load|report)", date_from=days_ago(6), date_to=days_ago(1))
    frame = show(server, page, plan)
    with held_runs(server, plan) as gate:
        confirm(frame, "Finance sent corrected FX rates, INC-4127")
        gate.let_pass(3)
        expect(frame.get_by_role("heading", level=1)).to_contain_text("Clearing: 15 of 30 task instances")
        look(page, "progress")
        frame.get_by_role("button", name="Stop after this batch").click()
        expect(frame.get_by_role("button", name="Stopping…")).to_be_visible()
        gate.let_pass(1)
        expect(frame.get_by_text("Stopped by admin")).to_be_visible()
    rerun_so_far(execute)
    frame.get_by_role("link", name="Refresh").click()
    expect(frame.locator("#progress .legend")).to_contain_text("Running")
    look(page, "result")


def afterwards(server, page, look) -> None:
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Undo…").click()
    expect(frame.get_by_role("button", name="Restore ")).to_be_visible()
    look(page, "undo")
    other_plans(server)
    frame.get_by_role("link", name="History").click()
    expect(frame.locator("table.history tbody tr")).to_have_count(HAPPENED)
    look(page, "history")
    go(server, page, "help/limits")
    look(page, "help")
    show(server, page, {"id": "0" * 32})
    look(page, "missing", again=False)


def days_ago(number: int) -> str:
    return str(TODAY - timedelta(days=number))


def api(server, path: str, **body: object) -> dict[str, Any]:
    answer: dict[str, Any] = server.api("POST", f"/pluginsv2/safe_clear/plans{path}", json=body).json()
    return answer


def plan_of(server, **body: object) -> dict[str, Any]:
    return api(server, "", dag_id="sales_etl", **body)


@contextmanager
def held_runs(server, plan: dict[str, Any]) -> Iterator[Gate]:
    """Hold the plan's dag runs, so that its driver waits at each."""
    engine = create_engine(server.sqlalchemy_url)
    gate = Gate(engine, plan["selection"]["dag_id"], [run["run_id"] for run in plan["dag_runs"]])
    try:
        yield gate
    finally:
        gate.open_for_all()
        engine.dispose()


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
        given = {name: value for name, value in body.items() if value != ""}
        return server.api("POST", f"/pluginsv2/safe_clear/plans{path}", json=given).json()

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
            wait_until_done(server, plan)


def wait_until_done(server, plan: dict[str, Any]) -> None:
    def is_done() -> bool:
        found = server.api("GET", f"/pluginsv2/safe_clear/plans/{plan['id']}/progress.json").json()
        return found["status"] != "applying" and not found["undo"]["under_way"]

    server.wait_until(is_done, "the driver is done")


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
