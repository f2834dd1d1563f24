"""Clears in waves as a person follows them: asked, limited, stopped by failures, scheduled, changed, left."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.conftest import DAG_IDS, HISTORY
from tests.browser.frames import Troubles, address, confirm, look, open_tab, preview

DAG, OTHER = "e2e_orders", "e2e_changing"
RUNS, EACH = 5, 7
PLANS = "/pluginsv2/safe_clear/plans"
SETS = "/pluginsv2/safe_clear/change_sets"
ALL_RUNS = text("SELECT run_id FROM dag_run WHERE dag_id = :dag ORDER BY run_after")
CLEARED_RUNS = text(
    "SELECT run_id FROM dag_run WHERE dag_id = :dag AND state IN ('queued', 'running') ORDER BY run_after"
)
RUN_ENDS = text(
    "UPDATE dag_run SET state = :state, start_date = now(), end_date = now() "
    "WHERE dag_id = :dag AND run_id = :run_id"
)
TASKS_END = text(
    "UPDATE task_instance SET state = :state, start_date = now(), end_date = now() "
    "WHERE dag_id = :dag AND run_id = :run_id"
)
WAVES = {
    "first_runs": "First runs",
    "at_most_runs": "Unfinished runs at most",
    "stop_after_failed": "Failed runs until a person decides",
    "not_before": "Not before",
}
ASKED = "The first run has succeeded. Go on with the rest?"


@pytest.fixture(scope="module")
def server(make_airflow_server, history):
    """Start an api-server alone: what is cleared runs again when a test says so."""
    server = make_airflow_server(template=HISTORY)
    server.start(components=(), dag_ids=DAG_IDS)
    return server


@pytest.fixture(scope="module")
def engine(server):
    """Connect to the server's database; each statement is committed."""
    engine = create_engine(server.sqlalchemy_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


class Runs:
    """The runs of a DAG, which a test lets end as a scheduler and its workers would."""

    def __init__(self, engine, dag_id: str) -> None:
        self._engine, self._dag_id = engine, dag_id

    def ids(self) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(ALL_RUNS, {"dag": self._dag_id}))

    def cleared(self) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(CLEARED_RUNS, {"dag": self._dag_id}))

    def end(self, *numbers: int, state: str = "success", run_state: str | None = None) -> None:
        """Let runs end, counted from the oldest, which is 1."""
        ids = self.ids()
        with self._engine.connect() as connection:
            for number in numbers:
                given = {"dag": self._dag_id, "run_id": ids[number - 1]}
                connection.execute(TASKS_END, {**given, "state": state})
                connection.execute(RUN_ENDS, {**given, "state": run_state or state})

    def rows(self, *numbers: int) -> list[tuple[Any, ...]]:
        """Return runs and their task instances, row for row."""
        ids, found = self.ids(), []
        with self._engine.connect() as connection:
            for table in ("dag_run", "task_instance"):
                query = text(f"SELECT * FROM {table} WHERE dag_id = :dag AND run_id = ANY(:ids)")
                given = {"dag": self._dag_id, "ids": [ids[number - 1] for number in numbers]}
                found += [tuple(map(repr, row)) for row in connection.execute(query, given)]
        return sorted(found)


@pytest.fixture
def runs(server, engine):
    """All runs are over before a test and after it, and no clear is under way."""
    runs = Runs(engine, DAG)
    yield runs
    for plan in server.api("GET", f"{PLANS}.json?status=applying").json()["items"]:
        of = f"{SETS}/{plan['change_set']}" if plan["change_set"] else f"{PLANS}/{plan['id']}"
        server.api("POST", f"{of}/stop", json={}).raise_for_status()
    server.wait_until(
        lambda: not server.api("GET", f"{PLANS}.json?status=applying").json()["total"], "no plan is under way"
    )
    for dag_id in (DAG, OTHER):
        one = Runs(engine, dag_id)
        one.end(*range(1, len(one.ids()) + 1))


@pytest.fixture
def begin(server, open_page, runs):
    """Return a function that clears the DAG in waves and returns the page that follows."""

    def begin(**waves: str):
        page = open_page(server, timezone_id="UTC")
        page.goto(address(server, f"?dag_id={DAG}"))
        fill_and_confirm(page, **waves)
        return page

    return begin


def fill_and_confirm(page, **waves: str) -> None:
    preview(page, date_from="2026-03-01", date_to="2026-03-05")
    choose(page, **waves)
    confirm(page, "wrong exchange rates")


def choose(page, then: str = "", **waves: str) -> None:
    """Open "How fast" and fill it in."""
    page.get_by_text("How fast:").click()
    for name, value in waves.items():
        page.get_by_label(WAVES[name], exact=True).fill(value)
    if then:
        page.get_by_label("Then", exact=True).select_option(then)


def heading(page):
    return page.get_by_role("heading", level=1)


def waves(page):
    """Return the part of the page about the waves, by its accessible name."""
    return page.get_by_role("region", name="Waves")


def strip(page):
    """Return the list that says how many runs are in which state, by its accessible name."""
    return waves(page).get_by_role("list", name="Runs of this clear")


def expect_strip(page, *parts: str) -> None:
    expect(strip(page).get_by_role("listitem")).to_have_text(list(parts))


def question(page):
    return waves(page).get_by_role("status")


def button(page, name: str):
    return waves(page).get_by_role("button", name=name, exact=True)


def asked(begin, runs, **more: str):
    """Clear the first run, let it succeed, and return the page, which asks a person."""
    page = begin(first_runs="1", **more)
    expect_strip(page, "1 running again", "4 untouched")
    runs.end(1)
    expect(question(page)).to_have_text(ASKED)
    return page


def cleared(page):
    """Return the heading of a clear that has reached all runs."""
    return page.get_by_role("heading", level=1, name=f"Cleared {RUNS * EACH} task instances in {RUNS} runs")


# The first runs, then ask


def test_a_canary_that_succeeds_asks_and_goes_on(begin, runs):
    untouched = runs.rows(2, 3, 4, 5)
    page = begin(first_runs="1")
    troubles = Troubles().watch(page)
    expect(heading(page)).to_have_text(f"Clearing: {EACH} of {RUNS * EACH} task instances")
    expect(waves(page)).to_contain_text("First 1 run, then wait for a person")
    expect_strip(page, "1 running again", "4 untouched")
    expect(waves(page)).to_contain_text("Nothing more is cleared until these runs finish.")
    runs.end(1)
    expect(question(page)).to_have_text(ASKED)
    expect_strip(page, "1 done", "4 untouched")
    expect(page.locator("[data-tag]")).to_have_text("Waiting for a person")
    assert runs.rows(2, 3, 4, 5) == untouched
    button(page, "Go on").click()
    expect(cleared(page)).to_be_visible()
    expect_strip(page, "1 done", "4 running again")
    assert len(runs.cleared()) == 4
    assert troubles.found == []


def test_a_canary_that_fails_names_the_run_and_stops_there(begin, runs):
    untouched = runs.rows(2, 3, 4, 5)
    page = begin(first_runs="1")
    expect_strip(page, "1 running again", "4 untouched")
    runs.end(1, state="failed")
    expect(question(page)).to_have_text("The first run failed.")
    expect_strip(page, "1 failed", "4 untouched")
    failed = waves(page).get_by_role("listitem").filter(has_text=runs.ids()[0])
    expect(failed).to_contain_text("extract")
    expect(failed.get_by_role("link")).to_have_attribute("href", re.compile(rf"/dags/{DAG}/runs/"))
    button(page, "Stop here").click()
    expect(heading(page)).to_have_text(
        f"{EACH} of {RUNS * EACH} task instances were cleared; the other {4 * EACH} were not changed"
    )
    assert runs.rows(2, 3, 4, 5) == untouched


PARTLY = text(
    "UPDATE task_instance SET state = 'failed', start_date = now(), end_date = now() "
    "WHERE dag_id = :dag AND run_id = :run_id AND task_id = 'extract'"
)


def test_undo_from_the_page_that_asks_stops_the_clear(begin, runs, engine):
    before = runs.rows(2, 3, 4, 5)
    page = begin(first_runs="1")
    troubles = Troubles().watch(page)
    expect_strip(page, "1 running again", "4 untouched")
    plan = page.url
    given = {"dag": DAG, "run_id": runs.ids()[0], "state": "failed"}
    with engine.connect() as connection:
        connection.execute(PARTLY, given)
        connection.execute(RUN_ENDS, given)
    expect(question(page)).to_have_text("The first run failed.")
    waves(page).get_by_role("link", name="Undo…").click()
    expect(heading(page)).to_have_text(f"Restore {EACH - 1} of {EACH} task instances")
    expect(page.get_by_text("The clear waits for a person. This stops it.")).to_be_visible()
    look(page, "undo-while-it-waits")
    page.get_by_role("textbox", name="Reason").fill("wrong rates after all")
    page.get_by_role("button", name=f"Restore {EACH - 1} task instances").click()
    expect(heading(page)).to_have_text(f"{EACH - 1} of {EACH} task instances were restored")
    assert page.url == plan
    expect(page.get_by_text("1 not restored", exact=True)).to_be_visible()
    expect(waves(page).get_by_role("button")).to_have_count(0)
    assert runs.rows(2, 3, 4, 5) == before
    assert troubles.found == []


def test_undo_from_the_page_that_asks_can_be_left_again(begin, runs):
    page = asked(begin, runs)
    waves(page).get_by_role("link", name="Undo…").click()
    expect(heading(page)).to_have_text("Nothing can be restored")
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Back to the clear").click()
    expect(question(page)).to_have_text(ASKED)
    button(page, "Stop here").click()
    expect(heading(page)).to_contain_text("were cleared; the other")


def test_a_person_goes_on_without_the_failed_run(begin, runs):
    page = begin(first_runs="1")
    expect_strip(page, "1 running again", "4 untouched")
    runs.end(1, state="failed")
    expect(button(page, "Go on")).to_have_count(0)
    button(page, "Go on without the failed runs").click()
    expect(cleared(page)).to_be_visible()
    expect_strip(page, "1 failed", "4 running again")


def test_the_page_that_asks_has_nothing_for_axe_to_find(begin, runs):
    page = asked(begin, runs)
    look(page, "waves-asked")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 800})
    look(page, "waves-asked-narrow-dark")


# Limits


def test_at_most_two_are_unfinished(begin, runs):
    page = begin(at_most_runs="2")
    expect_strip(page, "2 running again", "3 untouched")
    assert len(runs.cleared()) == 2
    runs.end(1)
    expect_strip(page, "1 done", "2 running again", "2 untouched")
    assert runs.cleared() == runs.ids()[1:3]
    runs.end(2, 3)
    expect_strip(page, "3 done", "2 running again")
    expect(cleared(page)).to_be_visible()


def test_failed_runs_stop_it_until_a_person_decides(begin, runs):
    page = begin(at_most_runs="2", stop_after_failed="2")
    expect_strip(page, "2 running again", "3 untouched")
    runs.end(1, state="failed")
    expect_strip(page, "1 failed", "2 running again", "2 untouched")
    runs.end(2, state="failed")
    expect(question(page)).to_have_text("2 runs failed.")
    expect_strip(page, "2 failed", "1 running again", "2 untouched")
    runs.end(3)
    button(page, "Go on without the failed runs").click()
    expect_strip(page, "1 done", "2 failed", "2 running again")


def test_it_is_scheduled_and_changed_while_it_waits(begin, runs):
    before = runs.rows(1, 2, 3, 4, 5)
    page = begin(not_before="2030-01-01T02:00")
    expect(waves(page)).to_contain_text("Nothing is cleared before")
    expect(page.locator("[data-tag]")).to_have_text("Scheduled")
    expect_strip(page, "5 untouched")
    assert runs.rows(1, 2, 3, 4, 5) == before
    page.get_by_text("Change the waves").first.click()
    page.get_by_label("Not before", exact=True).fill("")
    page.get_by_label("Unfinished runs at most", exact=True).fill("3")
    page.get_by_role("button", name="Change the waves").click()
    expect(waves(page)).to_contain_text("At most 3 runs unfinished at a time")
    expect_strip(page, "3 running again", "2 untouched")
    button(page, "Clear the rest at once").click()
    expect(cleared(page)).to_be_visible()


def test_waves_that_contradict_themselves_are_refused_in_place(begin, runs):
    page = asked(begin, runs)
    page.get_by_text("Change the waves").first.click()
    page.get_by_label("First runs", exact=True).fill("0")
    page.get_by_role("button", name="Change the waves").click()
    expect(page.locator("main")).to_contain_text("number")
    assert runs.cleared() == []


# Left, closed, cut off


def test_the_tab_is_closed_and_the_question_waits(server, begin, runs):
    page = begin(first_runs="1")
    expect_strip(page, "1 running again", "4 untouched")
    plan, context = page.url, page.context
    page.close()
    runs.end(1)
    path = plan.replace(server.url, "") + "/progress.json"
    server.wait_until(
        lambda: server.api("GET", path).json()["waves"]["state"] == "waiting_for_person", "it asks a person"
    )
    other = context.new_page()
    other.goto(plan)
    expect(question(other)).to_have_text(ASKED)
    button(other, "Go on").click()
    expect(cleared(other)).to_be_visible()


def test_in_airflows_frame_the_tab_is_changed_and_the_question_waits(server, open_page, runs):
    page = open_page(server, timezone_id="UTC")
    frame = open_tab(server, page, f"/dags/{DAG}")
    fill_and_confirm(frame, first_runs="1")
    expect_strip(frame, "1 running again", "4 untouched")
    plan = next(one.url for one in page.frames if "/safe_clear/plans/" in one.url)
    page.get_by_role("link", name="Runs", exact=True).click()
    runs.end(1)
    page.get_by_role("link", name="Safe Clear").click()
    frame = page.frame_locator("iframe")
    expect(heading(frame)).to_be_visible()
    page.goto(plan)
    expect(question(page)).to_have_text(ASKED)


def test_offline_as_a_person_goes_on(begin, runs):
    page = asked(begin, runs)
    page.context.set_offline(True)
    button(page, "Go on").click()
    expect(waves(page)).to_contain_text("Checking whether the server received this")
    page.context.set_offline(False)
    expect(waves(page)).to_contain_text("So far the plan is as it was", timeout=20_000)
    assert runs.cleared() == []
    button(page, "Go on").click()
    expect(cleared(page)).to_be_visible()


def test_an_answer_that_is_lost_as_a_person_goes_on_is_found_out(begin, runs):
    page = asked(begin, runs)

    def lose(route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route(re.compile("/continue$"), lose, times=1)
    button(page, "Go on").click()
    expect(cleared(page)).to_be_visible()
    assert len(runs.cleared()) == 4


def test_somebody_else_goes_on_and_the_page_follows(server, begin, runs):
    page = asked(begin, runs, at_most_runs="2")
    path = page.url.replace(server.url, "")
    server.api("POST", f"{path}/continue", json={}).raise_for_status()
    expect_strip(page, "1 done", "2 running again", "2 untouched")


def test_without_javascript(server, open_page, runs):
    page = open_page(server, java_script_enabled=False, timezone_id="UTC")
    page.goto(address(server, f"?dag_id={DAG}"))
    fill_and_confirm(page, first_runs="1")
    server.wait_until(lambda: len(runs.cleared()) == 1, "the first run is cleared")
    runs.end(1)
    path = page.url.replace(server.url, "") + "/progress.json"
    server.wait_until(
        lambda: server.api("GET", path).json()["waves"]["state"] == "waiting_for_person", "it asks a person"
    )
    page.reload()
    expect(question(page)).to_have_text(ASKED)
    button(page, "Go on").click()
    expect(cleared(page)).to_be_visible()


# Of a change set


@pytest.fixture
def set_page(server, open_page, runs, engine):
    """Return a function that clears two DAGs as a change set in waves and returns the page that follows."""

    def begin(**waves: str):
        body = {
            "dag_ids": [DAG, OTHER],
            "date_from": "2026-03-01",
            "date_to": "2026-03-05",
        }
        made = server.api("POST", SETS, json=body).raise_for_status().json()
        page = open_page(server, timezone_id="UTC")
        page.goto(address(server, f"change_sets/{made['id']}"))
        choose(page, **waves)
        for box in page.locator('input[name="acknowledge"]').all():
            box.check()
        page.locator(".dock [data-primary]").click()
        return page

    return begin


def test_the_waves_of_a_change_set_count_over_its_dags(set_page, runs, engine):
    page = set_page(first_runs="1")
    expect_strip(page, "1 running again", "6 untouched")
    everything = [Runs(engine, dag_id) for dag_id in (DAG, OTHER)]
    [first] = [one for one in everything if one.cleared()]
    first.end(1)
    expect(question(page)).to_have_text(ASKED)
    expect_strip(page, "1 done", "6 untouched")
    look(page, "waves-of-a-set")
    button(page, "Go on").click()
    expect(heading(page)).to_contain_text("Cleared ")
    assert sum(len(one.cleared()) for one in everything) == 6
