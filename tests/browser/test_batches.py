"""A clear and its undo as the browser drives them: batch by batch, stopped, left, cut off, watched."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.conftest import DAG_IDS, HISTORY
from tests.browser.frames import Troubles, address, confirm, confirm_button, open_tab, preview, sideways

DAG = "e2e_orders"
RANGE = {"date_from": "2026-03-01", "date_to": "2026-03-05"}
RUNS, TASK_INSTANCES, EACH = 5, 35, 7
NO_CONNECTION = "Can’t reach the server"
NOT_COMPARED = "updated_at"


@pytest.fixture(scope="module")
def server(make_airflow_server, history):
    """Start an api-server alone, which clears each run in a batch of its own."""
    server = make_airflow_server(template=HISTORY, AIRFLOW__SAFE_CLEAR__BATCH_SIZE="1")
    server.start(components=(), dag_ids=DAG_IDS)
    return server


@pytest.fixture(scope="module")
def read(server):
    """Return a function that reads the DAG's rows of a table of Airflow's, but not when they were written."""
    engine = create_engine(server.sqlalchemy_url)

    def read(table: str) -> list[dict[str, Any]]:
        query = text(f"SELECT * FROM {table} WHERE dag_id = :dag_id")
        with engine.connect() as connection:
            found = connection.execute(query, {"dag_id": DAG}).mappings()
            rows = [{key: row[key] for key in row if key != NOT_COMPARED} for row in found]
        return sorted(rows, key=repr)

    yield read
    engine.dispose()


class Gate:
    """Holds the batches that a page sends by itself, until the test lets them pass or has them fail."""

    def __init__(self, page, what: str = "apply") -> None:
        self.page = page
        self.held: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.open = False
        page.route(re.compile(f"/plans/[0-9a-f]+/{what}$"), self._arrives)

    def _arrives(self, route) -> None:
        if route.request.resource_type != "fetch":
            route.fallback()
            return
        self.bodies.append(json.loads(route.request.post_data))
        if self.open:
            route.fallback()
        else:
            self.held.append(route)

    def next(self):
        """Return the next batch that the page sends."""
        for _ in range(1_500):
            if self.held:
                return self.held.pop(0)
            self.page.wait_for_timeout(20)
        raise TimeoutError("no batch was sent")

    def let_pass(self, batches: int = 1) -> None:
        for _ in range(batches):
            self.next().fallback()

    def open_for_all(self) -> None:
        self.open = True
        for route in self.held:
            route.fallback()
        self.held.clear()


def heading(page):
    return page.get_by_role("heading", level=1)


def begin(server, page) -> None:
    """Preview a clear of the whole DAG and confirm it; the first batch is the form's own."""
    page.goto(address(server, f"?dag_id={DAG}"))
    preview(page, **RANGE)
    expect(heading(page)).to_have_text(f"Clear {TASK_INSTANCES} task instances in {RUNS} runs of {DAG}")
    confirm(page, "wrong exchange rates")
    expect(heading(page)).to_have_text(clearing(1))


def clearing(runs: int, verb: str = "Clearing") -> str:
    return f"{verb}: {runs * EACH} of {TASK_INSTANCES} task instances"


def halt(page):
    return page.locator("[data-halt]")


def wait_until_stopped(server, plan_url: str) -> None:
    path = f"{plan_url.replace(server.url, '')}.json"
    server.wait_until(lambda: server.api("GET", path).json()["status"] == "stopped", "the plan is stopped")


def test_in_airflows_frame_to_the_end(server, open_page):
    page = open_page(server)
    troubles = Troubles().watch(page)
    frame = open_tab(server, page, f"/dags/{DAG}")
    preview(frame, **RANGE)
    gate = Gate(page)
    confirm(frame)

    bar = frame.locator("progress")
    expect(heading(frame)).to_have_text(clearing(1))
    expect(frame.get_by_text("Keep this page open")).to_be_visible()
    expect(frame.get_by_text("batch 2")).to_be_visible()
    expect(halt(frame)).to_be_visible()
    for done in (2, 3, 4):
        gate.let_pass()
        expect(heading(frame)).to_have_text(clearing(done))
        expect(bar).to_have_js_property("value", done * EACH)
        expect(bar).to_have_js_property("max", TASK_INSTANCES)
        expect(frame.get_by_text(f"{done} of {RUNS} runs")).to_be_visible()
        expect(frame.get_by_text(re.compile(r"^about \d+ (s|min) left$"))).to_be_visible()
    gate.let_pass()

    expect(heading(frame)).to_have_text(f"Cleared {TASK_INSTANCES} task instances in {RUNS} runs of {DAG}")
    expect(heading(frame)).to_be_focused()
    expect(frame.locator("table.batches tbody tr")).to_have_count(RUNS)
    assert not any("resume" in body for body in gate.bodies)
    assert troubles.found == []


def test_stop_reload_resume_undo(server, open_page, read):
    before = read("task_instance"), read("dag_run"), read("task_instance_history")
    page = open_page(server)
    troubles = Troubles().watch(page)
    gate = Gate(page)
    begin(server, page)

    batch = gate.next()
    halt(page).click()
    expect(halt(page)).to_have_text("Stopping after this batch…")
    batch.fallback()
    stopped = (
        f"{2 * EACH} of {TASK_INSTANCES} task instances were cleared; the other {3 * EACH} were not changed"
    )
    expect(heading(page)).to_have_text(stopped)
    expect(page.get_by_text("Stopped by admin")).to_be_visible()
    expect(page.locator(".btn.go")).to_have_count(0)

    page.reload()
    expect(heading(page)).to_have_text(stopped)
    page.get_by_role("button", name=f"Resume: clear the remaining {3 * EACH}").click()
    expect(heading(page)).to_have_text(clearing(3))
    gate.let_pass()
    expect(heading(page)).to_have_text(clearing(4))
    gate.next()
    page.reload()  # in the middle of a batch
    expect(heading(page)).to_contain_text(f"{4 * EACH} of {TASK_INSTANCES} task instances were cleared")
    assert len(gate.bodies) == 3
    gate.open_for_all()
    page.get_by_role("button", name=f"Resume: clear the remaining {EACH}").click()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")

    undo = Gate(page, "undo")
    page.get_by_role("link", name="Undo…").click()
    expect(heading(page)).to_have_text(f"Restore {TASK_INSTANCES} of {TASK_INSTANCES} task instances")
    page.get_by_role("textbox", name="Reason").fill("I mixed the date")
    page.get_by_role("button", name=f"Restore {TASK_INSTANCES} task instances").click()
    expect(heading(page)).to_have_text(clearing(1, "Restoring"))
    undo.let_pass()
    expect(heading(page)).to_have_text(clearing(2, "Restoring"))
    held = undo.next()
    halt(page).click()
    held.fallback()
    expect(halt(page)).to_be_hidden()
    expect(heading(page)).to_have_text(clearing(3, "Restoring"))
    undo.open_for_all()
    page.get_by_role("button", name="Restore the rest").click()
    expect(heading(page)).to_have_text(f"All {TASK_INSTANCES} task instances were restored")
    reasons = page.locator("table.batches tr", has_text="Restored").locator(".what .sub")
    expect(reasons).to_have_text(["I mixed the date"] * RUNS)
    assert (read("task_instance"), read("dag_run"), read("task_instance_history")) == before
    assert troubles.found == []


def test_lost_connections_lose_nothing_and_clear_nothing_twice(server, open_page, read):
    clears = {row["run_id"]: row["clear_number"] for row in read("dag_run")}
    page = open_page(server)
    gate = Gate(page)
    begin(server, page)
    gate.next().abort("connectionreset")
    expect(page.get_by_text(f"{NO_CONNECTION}; nothing is lost. Trying again.")).to_be_visible()
    lost = gate.next()
    lost.fetch()  # the server clears the batch, and the answer is lost
    lost.abort("connectionreset")
    expect(heading(page)).to_have_text(clearing(1))
    gate.let_pass()
    expect(page.locator("[data-trouble]")).to_be_hidden()
    expect(heading(page)).to_have_text(clearing(3))
    gate.next().fulfill(status=503, json={"error": "busy"})
    expect(page.get_by_text("HTTP 503")).to_be_visible()
    gate.open_for_all()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")
    after = {row["run_id"]: row["clear_number"] for row in read("dag_run")}
    assert after == {run_id: number + 1 for run_id, number in clears.items()}


def test_after_some_failures_it_waits_to_be_asked(server, open_page):
    page = open_page(server)
    page.clock.install()
    gate = Gate(page)
    begin(server, page)
    again = page.get_by_role("button", name="Try again")
    for _ in range(4):
        gate.next().abort("connectionrefused")
        expect(page.get_by_text("Trying again.")).to_be_visible()
        expect(again).to_be_hidden()
        page.clock.fast_forward(20_000)
    gate.next().abort("connectionrefused")
    expect(again).to_be_focused()
    expect(page.get_by_text(f"{NO_CONNECTION}; nothing is lost.")).to_be_visible()
    page.clock.fast_forward(60_000)
    assert gate.held == []
    page.keyboard.press("Enter")
    gate.let_pass()
    expect(again).to_be_hidden()
    expect(heading(page)).to_have_text(clearing(2))
    gate.open_for_all()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")


@pytest.mark.parametrize(
    ("status", "said"), [(401, "You are logged out"), (403, "refuses requests from this page")]
)
def test_no_longer_let_in(server, open_page, status, said):
    page = open_page(server)
    gate = Gate(page)
    begin(server, page)
    gate.next().fulfill(status=status, json={"error": "x"})
    expect(page.get_by_text(said)).to_be_visible()
    expect(halt(page)).to_be_hidden()
    page.wait_for_timeout(1_500)
    assert len(gate.bodies) == 1


def test_another_tab_follows_and_sends_nothing(server, open_page):
    page = open_page(server)
    gate = Gate(page)
    begin(server, page)
    other = page.context.new_page()
    troubles = Troubles().watch(other)
    posted: list[str] = []
    other.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    other.goto(page.url)
    expect(heading(other)).to_have_text(clearing(1))
    expect(other.get_by_text("admin is clearing")).to_be_visible()
    expect(other.get_by_role("button", name="Clear the next batch")).to_be_hidden()
    gate.let_pass()
    expect(heading(other)).to_have_text(clearing(2))
    gate.open_for_all()
    expect(heading(other)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")
    assert posted == []
    assert troubles.found == []


def test_confirmed_before_the_scripts_have_come(server, open_page):
    page = open_page(server)

    def late(route) -> None:
        page.wait_for_timeout(1_500)
        route.fallback()

    page.route(re.compile(r"/static/safe-clear\.js"), late)
    gate = Gate(page)
    begin(server, page)
    gate.open_for_all()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")


def test_leaving_the_page_stops_after_the_batch_in_hand(server, open_page):
    page = open_page(server)
    gate = Gate(page)
    begin(server, page)
    plan = page.url
    gate.next()
    page.get_by_role("link", name="Plans").click()
    expect(heading(page)).to_have_text("Plans")
    wait_until_stopped(server, plan)
    row = page.locator("table.plans tbody tr").first
    page.reload()
    expect(row).to_contain_text("Stopped")
    expect(row).to_contain_text(f"{EACH} of {TASK_INSTANCES} cleared")
    row.get_by_role("link").click()
    expect(heading(page)).to_contain_text(f"{EACH} of {TASK_INSTANCES} task instances were cleared")


def test_left_without_a_word_it_is_resumed(server, open_page):
    """As after a power cut: nobody tells the server, and the page finds out by itself."""
    page = open_page(server)
    page.add_init_script("navigator.sendBeacon = () => true")
    Gate(page)
    begin(server, page)
    plan = page.url
    other = page.context.new_page()
    page.close()
    other.goto(plan)
    # The batch in hand may still have reached the server.
    expect(heading(other)).to_have_text(
        re.compile(rf"^Stopped at ({EACH}|{2 * EACH}) of {TASK_INSTANCES} task")
    )
    expect(other.get_by_role("link", name="Undo…")).to_be_visible()
    other.get_by_role("button", name="Resume").click()
    expect(heading(other)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")


def test_without_javascript(server, open_page):
    page = open_page(server, java_script_enabled=False)
    begin(server, page)
    for done in range(2, RUNS):
        page.get_by_role("button", name="Clear the next batch").click()
        expect(heading(page)).to_have_text(clearing(done))
    page.get_by_role("button", name="Stop after this batch").click()
    expect(page.get_by_text("Stopped by admin")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")


def test_without_storage_each_batch_is_asked_for(server, open_page):
    page = open_page(server)
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('blocked'); } })"
    )
    troubles = Troubles().watch(page)
    begin(server, page)
    page.get_by_role("button", name="Clear the next batch").click()
    expect(heading(page)).to_have_text(clearing(2))
    assert troubles.found == []


def test_chosen_runs_by_keyboard(server, open_page):
    page = open_page(server)
    begin(server, page)
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")
    page.get_by_role("link", name="Undo…").click()
    button = page.get_by_role("button", name="Restore ")
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(RUNS)
    # The page puts the focus on its heading once its scripts have come, and would take it away again.
    expect(heading(page)).to_be_focused()
    boxes.nth(0).focus()
    page.keyboard.press("Space")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_text("preview again first")).to_be_visible()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Preview again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text(f"Restore {4 * EACH} of {4 * EACH} task instances")
    expect(boxes).to_have_count(4)
    button.focus()
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text(f"{4 * EACH} of {TASK_INSTANCES} task instances were restored")
    expect(page.get_by_text("Undone in part")).to_be_visible()


def test_nothing_is_wider_than_a_narrow_screen(server, open_page):
    page = open_page(server, viewport={"width": 390, "height": 800})
    gate = Gate(page)

    def fits() -> None:
        assert sideways(page) == 0

    begin(server, page)
    gate.next()
    fits()
    gate.open_for_all()
    page.reload()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    fits()
    page.get_by_role("link", name="Undo…").click()
    expect(page.get_by_role("button", name="Restore ")).to_be_in_viewport()
    fits()
    page.get_by_role("link", name="Plans").click()
    expect(page.locator("table.plans")).to_be_visible()
    fits()


def test_enter_on_the_receipt_changes_nothing(server, open_page):
    page = open_page(server)
    begin(server, page)
    expect(heading(page)).to_be_focused()
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")
    page.get_by_role("link", name="Undo…").click()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Reason").press("Enter")
    expect(confirm_button(page)).to_have_count(0)
    assert "POST" not in sent


def test_leaving_the_tab_in_airflow_stops_it_too(server, open_page):
    page = open_page(server)
    frame = open_tab(server, page, f"/dags/{DAG}")
    preview(frame, **RANGE)
    gate = Gate(page)
    confirm(frame)
    gate.next()
    plan = next(one.url for one in page.frames if "/safe_clear/plans/" in one.url)
    page.get_by_role("link", name="Runs", exact=True).click()
    wait_until_stopped(server, plan)


def test_stopped_without_a_connection(server, open_page):
    page = open_page(server)
    page.clock.install()
    gate = Gate(page)
    begin(server, page)
    plan = page.url
    gate.next().abort("connectionrefused")
    expect(page.get_by_text("Trying again.")).to_be_visible()
    page.route(re.compile("/stop$"), lambda route: route.abort())
    halt(page).click()
    for _ in range(5):
        expect(page.get_by_text(NO_CONNECTION)).to_be_visible()
        page.clock.fast_forward(20_000)
        page.wait_for_timeout(100)
    expect(page.get_by_text("reload it when the server is back")).to_be_visible()
    expect(halt(page)).to_be_hidden()
    assert page.url == plan
    assert len(gate.bodies) == 1
