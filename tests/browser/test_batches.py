"""A clear and its undo as a driver does them, and the browser follows: stopped, left, cut off, watched."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.conftest import DAG_IDS, HISTORY
from tests.browser.frames import Troubles, address, confirm, confirm_button, open_tab, preview, sideways
from tests.browser.gate import Gate

DAG = "e2e_orders"
RANGE = {"date_from": "2026-03-01", "date_to": "2026-03-05"}
RUNS, TASK_INSTANCES, EACH = 5, 35, 7
NO_CONNECTION = "Can’t reach the server"
NOT_COMPARED = "updated_at"


@pytest.fixture(scope="module")
def server(make_airflow_server, history):
    """Start an api-server alone, whose driver clears each run in a batch of its own."""
    server = make_airflow_server(template=HISTORY, AIRFLOW__SAFE_CLEAR__BATCH_SIZE="1")
    server.start(components=(), dag_ids=DAG_IDS)
    return server


@pytest.fixture(scope="module")
def engine(server):
    """Connect to the server's database."""
    engine = create_engine(server.sqlalchemy_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def read(engine):
    """Return a function that reads the DAG's rows of a table of Airflow's, but not when they were written."""

    def read(table: str) -> list[dict[str, Any]]:
        query = text(f"SELECT * FROM {table} WHERE dag_id = :dag_id")
        with engine.connect() as connection:
            found = connection.execute(query, {"dag_id": DAG}).mappings()
            rows = [{key: row[key] for key in row if key != NOT_COMPARED} for row in found]
        return sorted(rows, key=repr)

    return read


RUN_IDS = text(
    "SELECT run_id FROM dag_run WHERE dag_id = :dag AND run_after BETWEEN '2026-03-01' AND '2026-03-06' "
    "ORDER BY run_after"
)


@pytest.fixture
def gate(engine):
    """Return a function that holds all runs until the test lets them pass."""
    gates = []

    def hold(*, undo: bool = False) -> Gate:
        with engine.connect() as connection:
            run_ids = list(connection.scalars(RUN_IDS, {"dag": DAG}))
        assert len(run_ids) == RUNS
        gates.append(Gate(engine, DAG, reversed(run_ids) if undo else run_ids))
        return gates[-1]

    yield hold
    for one in gates:
        one.open_for_all()


@pytest.fixture(autouse=True)
def _nothing_under_way(server):
    """Leave no clear to the next test."""
    yield
    server.wait_until(
        lambda: not server.api("GET", "/pluginsv2/safe_clear/plans.json?status=applying").json()["total"],
        "no plan is under way",
    )


def heading(page):
    return page.get_by_role("heading", level=1)


def begin(server, page) -> None:
    """Preview a clear of the whole DAG and confirm it."""
    page.goto(address(server, f"?dag_id={DAG}"))
    preview(page, **RANGE)
    expect(heading(page)).to_have_text(f"Clear {TASK_INSTANCES} task instances in {RUNS} runs of {DAG}")
    confirm(page, "wrong exchange rates")


def clearing(runs: int, verb: str = "Clearing") -> str:
    return f"{verb}: {runs * EACH} of {TASK_INSTANCES} task instances"


CLEARED = f"Cleared {TASK_INSTANCES} task instances in {RUNS} runs of {DAG}"


def stop(page):
    return page.get_by_role("button", name="Stop after this batch")


def wait_until_applied(server, plan_url: str) -> None:
    path = f"{plan_url.replace(server.url, '')}.json"
    server.wait_until(lambda: server.api("GET", path).json()["status"] == "applied", "the plan is applied")


def test_in_airflows_frame_to_the_end(server, open_page, gate):
    page = open_page(server)
    troubles = Troubles().watch(page)
    frame = open_tab(server, page, f"/dags/{DAG}")
    preview(frame, **RANGE)
    held = gate()
    confirm(frame)

    bar = frame.locator("progress")
    expect(heading(frame)).to_have_text(clearing(0))
    expect(frame.get_by_text("you can close this page")).to_be_visible()
    expect(stop(frame)).to_be_visible()
    for done in (1, 2, 3):
        held.let_pass()
        expect(heading(frame)).to_have_text(clearing(done))
        expect(bar).to_have_js_property("value", done * EACH)
        expect(bar).to_have_js_property("max", TASK_INSTANCES)
        expect(frame.get_by_text(f"{done} of {RUNS} runs")).to_be_visible()
        expect(frame.get_by_text(re.compile(r"^about \d+ (s|min) left$"))).to_be_visible()
    held.open_for_all()

    expect(heading(frame)).to_have_text(CLEARED)
    expect(heading(frame)).to_be_focused()
    expect(frame.locator("table.batches tbody tr")).to_have_count(RUNS)
    assert troubles.found == []


def test_stop_reload_resume_undo(server, open_page, read, gate):
    before = read("task_instance"), read("dag_run"), read("task_instance_history")
    page = open_page(server)
    troubles = Troubles().watch(page)
    held = gate()
    begin(server, page)
    held.let_pass()
    expect(heading(page)).to_have_text(clearing(1))

    stop(page).click()
    expect(page.get_by_role("button", name="Stopping…")).to_be_visible()
    held.let_pass()
    stopped = (
        f"{2 * EACH} of {TASK_INSTANCES} task instances were cleared; the other {3 * EACH} were not changed"
    )
    expect(heading(page)).to_have_text(stopped)
    expect(page.get_by_text("Stopped by admin")).to_be_visible()
    expect(page.locator(".btn.go")).to_have_count(0)

    page.reload()
    expect(heading(page)).to_have_text(stopped)
    held.open_for_all()
    page.get_by_role("button", name=f"Resume: clear the remaining {3 * EACH}").click()
    expect(heading(page)).to_have_text(CLEARED)

    page.get_by_role("link", name="Undo…").click()
    expect(heading(page)).to_have_text(f"Restore {TASK_INSTANCES} of {TASK_INSTANCES} task instances")
    page.get_by_role("textbox", name="Reason").fill("I mixed the date")
    held = gate(undo=True)
    page.get_by_role("button", name=f"Restore {TASK_INSTANCES} task instances").click()
    expect(heading(page)).to_have_text(clearing(0, "Restoring"))
    held.let_pass()
    expect(heading(page)).to_have_text(clearing(1, "Restoring"))
    stop(page).click()
    expect(page.get_by_role("button", name="Stopping…")).to_be_visible()
    held.let_pass()
    expect(heading(page)).to_have_text(f"{2 * EACH} of {TASK_INSTANCES} task instances were restored")
    held.open_for_all()
    page.get_by_role("link", name="Undo…").click()
    page.get_by_role("textbox", name="Reason").fill("I mixed the date")
    page.get_by_role("button", name=f"Restore {3 * EACH} task instances").click()
    expect(heading(page)).to_have_text(f"All {TASK_INSTANCES} task instances were restored")
    reasons = page.locator("table.batches tr", has_text="Restored").locator(".what .sub")
    expect(reasons).to_have_text(["I mixed the date"] * RUNS)
    assert (read("task_instance"), read("dag_run"), read("task_instance_history")) == before
    assert troubles.found == []


def test_a_confirmation_that_did_not_arrive_changes_nothing_and_is_sent_again(server, open_page, read):
    before = read("dag_run")
    page = open_page(server)
    page.route(re.compile("/apply$"), lambda route: route.abort("connectionreset"), times=1)
    begin(server, page)
    expect(page.get_by_text("The connection was lost. So far the plan is as it was")).to_be_visible()
    assert read("dag_run") == before
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("wrong exchange rates")
    confirm_button(page).click()
    expect(heading(page)).to_have_text(CLEARED)
    expect(page.get_by_text("wrong exchange rates").first).to_be_visible()


def test_a_confirmation_whose_answer_is_lost_is_found_out(server, open_page, read):
    clears = {row["run_id"]: row["clear_number"] for row in read("dag_run")}
    page = open_page(server)

    def lose(route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route(re.compile("/apply$"), lose, times=1)
    begin(server, page)
    expect(heading(page)).to_have_text(CLEARED)
    after = {row["run_id"]: row["clear_number"] for row in read("dag_run")}
    assert after == {run_id: number + 1 for run_id, number in clears.items()}


def test_offline_as_it_is_confirmed_it_is_found_out_when_the_connection_is_back(server, open_page):
    page = open_page(server)
    page.goto(address(server, f"?dag_id={DAG}"))
    preview(page, **RANGE)
    page.get_by_role("textbox", name="Reason").fill("before the tunnel")
    page.context.set_offline(True)
    confirm_button(page).click()
    expect(page.get_by_text("Checking whether the server received this")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("So far the plan is as it was")).to_be_visible(timeout=15_000)
    confirm_button(page).click()
    expect(heading(page)).to_have_text(CLEARED)


def test_where_the_server_does_not_say_how_the_plan_stands_nothing_is_guessed(server, open_page):
    page = open_page(server)
    page.route(re.compile("/apply$"), lambda route: route.abort("connectionreset"), times=1)
    page.route(re.compile("/progress.json$"), lambda route: route.fulfill(status=404, json={}), times=1)
    begin(server, page)
    expect(page.get_by_text("the server does not say how the plan stands")).to_be_visible()
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("wrong exchange rates")


@pytest.mark.parametrize(
    ("status", "said"), [(401, "You are logged out"), (403, "The server refused this"), (503, "is too busy")]
)
def test_a_refusal_is_shown_in_place_and_what_was_typed_stays(server, open_page, status, said):
    page = open_page(server)
    body = {"error": "The metadata database is too busy.", "remedy": "Try again."}
    page.route(re.compile("/apply$"), lambda route: route.fulfill(status=status, json=body), times=1)
    begin(server, page)
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("wrong exchange rates")
    expect(confirm_button(page)).to_have_attribute("aria-disabled", "false")


def test_a_stop_that_cannot_be_sent_is_found_out(server, open_page, gate):
    page = open_page(server)
    held = gate()
    begin(server, page)
    held.let_pass()
    expect(heading(page)).to_have_text(clearing(1))
    page.route(re.compile("/stop$"), lambda route: route.abort("connectionreset"), times=1)
    stop(page).click()
    expect(page.get_by_text("The connection was lost. So far the plan is as it was")).to_be_visible()
    held.open_for_all()
    expect(heading(page)).to_have_text(CLEARED)


def test_offline_while_it_follows(server, open_page, gate):
    page = open_page(server)
    held = gate()
    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    page.context.set_offline(True)
    expect(page.get_by_text(NO_CONNECTION)).to_be_visible()
    held.let_pass(2)
    page.context.set_offline(False)
    expect(heading(page)).to_have_text(clearing(2), timeout=15_000)
    expect(page.get_by_text(NO_CONNECTION)).to_be_hidden()
    held.open_for_all()
    expect(heading(page)).to_have_text(CLEARED)


def test_another_tab_follows_and_sends_nothing(server, open_page, gate):
    page = open_page(server)
    held = gate()
    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    other = page.context.new_page()
    troubles = Troubles().watch(other)
    posted: list[str] = []
    other.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    other.goto(page.url)
    expect(heading(other)).to_have_text(clearing(0))
    held.let_pass(2)
    expect(heading(other)).to_have_text(clearing(2))
    held.open_for_all()
    expect(heading(other)).to_have_text(CLEARED)
    assert posted == []
    assert troubles.found == []


def test_the_page_is_left_and_it_goes_on(server, open_page, gate):
    page = open_page(server)
    held = gate()
    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    plan = page.url
    page.get_by_role("link", name="History").click()
    expect(heading(page)).to_have_text("History")
    held.open_for_all()
    wait_until_applied(server, plan)
    page.reload()
    expect(page.locator("table.history tbody tr").first).to_contain_text("Applied")


def test_the_tab_is_closed_and_it_goes_on(server, open_page, gate):
    page = open_page(server)
    held = gate()
    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    plan, context = page.url, page.context
    page.close()
    held.open_for_all()
    wait_until_applied(server, plan)
    other = context.new_page()
    other.goto(plan)
    expect(heading(other)).to_have_text(CLEARED)


def test_the_tab_in_airflow_is_changed_and_it_goes_on(server, open_page, gate):
    page = open_page(server)
    frame = open_tab(server, page, f"/dags/{DAG}")
    preview(frame, **RANGE)
    held = gate()
    confirm(frame)
    expect(heading(frame)).to_have_text(clearing(0))
    plan = next(one.url for one in page.frames if "/safe_clear/plans/" in one.url)
    page.get_by_role("link", name="Runs", exact=True).click()
    held.open_for_all()
    wait_until_applied(server, plan)


def test_without_javascript(server, open_page, gate):
    page = open_page(server, java_script_enabled=False)
    held = gate()
    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    held.let_pass()
    # The page refreshes itself.
    expect(heading(page)).to_have_text(clearing(1), timeout=15_000)
    held.open_for_all()
    expect(heading(page)).to_have_text(CLEARED, timeout=15_000)


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


def test_nothing_is_wider_than_a_narrow_screen(server, open_page, gate):
    page = open_page(server, viewport={"width": 390, "height": 800})
    held = gate()

    def fits() -> None:
        assert sideways(page) == 0

    begin(server, page)
    expect(heading(page)).to_have_text(clearing(0))
    fits()
    held.open_for_all()
    expect(heading(page)).to_have_text(CLEARED)
    fits()
    page.get_by_role("link", name="Undo…").click()
    expect(page.get_by_role("button", name="Restore ")).to_be_in_viewport()
    fits()
    page.get_by_role("link", name="History").click()
    expect(page.locator("table.history")).to_be_visible()
    fits()


def test_enter_on_the_receipt_changes_nothing(server, open_page):
    page = open_page(server)
    begin(server, page)
    expect(heading(page)).to_contain_text(f"Cleared {TASK_INSTANCES} task instances")
    page.get_by_role("link", name="Undo…").click()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Reason").press("Enter")
    expect(confirm_button(page)).to_have_count(0)
    assert "POST" not in sent
