"""The incidents of docs/incidents.md, each played to its end; the page's table has the clicks of a person."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, confirm_button, dag_path, sideways, the_frame
from tests.browser.gate import Gate
from tests.support.server import REPOSITORY

DAGS = Path(__file__).parent / "sales_dags"
DAG, TASK = "sales_etl", "load.per_region"
TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
US = 1
ROW = re.compile(r"^\| ([a-o]) \|.*\| (\d+)(?: \+ (\d+) f)?(?:;.*)? \|$", re.MULTILINE)
TABLE = {
    letter: (int(clicks), int(fields or 0))
    for letter, clicks, fields in ROW.findall((REPOSITORY / "docs" / "incidents.md").read_text())
}
"""The clicks and the typed fields of each incident."""


class Hand:
    """Counts what a person clicks and types."""

    def __init__(self) -> None:
        self.clicks = 0
        self.fields = 0

    def click(self, target: Any) -> None:
        target.click()
        self.clicks += 1

    def fill(self, target: Any, value: str) -> None:
        target.fill(value)
        self.fields += 1

    def acknowledge(self, page: Any) -> None:
        """Tick what is to be acknowledged."""
        expect(confirm_button(page)).to_be_visible()
        for box in page.locator("input[name=acknowledge]:not(:checked)").all():
            self.click(box)

    def has_done(self, letter: str) -> None:
        assert (self.clicks, self.fields) == TABLE[letter]


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture(scope="module")
def server(make_airflow_server):
    """Start an api-server alone, whose driver clears each run in a batch of its own."""
    server = make_airflow_server(
        dags=DAGS,
        AIRFLOW__SAFE_CLEAR__BATCH_SIZE="1",
        AIRFLOW__SAFE_CLEAR__CONFIRM_ABOVE="40",
        AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE="100",
    )
    server.prepare("tests.browser.prepare", "sales", str(TODAY.date()))
    server.start(components=(), dag_ids=(DAG,))
    return server


@pytest.fixture(scope="module")
def engine(server):
    engine = create_engine(server.sqlalchemy_url)
    yield engine
    engine.dispose()


FAILURES = {
    "failed": f"task_id = '{TASK}' AND map_index = {US}",
    "upstream_failed": "task_id IN ('load.publish', 'report.daily')",
}
"""What ended in which state yesterday at night."""
COPIES = {"task_instance": ("dag_id", "run_id", "task_id", "map_index"), "dag_run": ("id",)}


@pytest.fixture(scope="module", autouse=True)
def _copy(engine):
    """Keep the states as they are before the first incident."""
    with engine.begin() as connection:
        for table in COPIES:
            connection.execute(text(f"CREATE TABLE before_{table} AS SELECT * FROM {table}"))


@pytest.fixture(autouse=True)
def _as_before(server, engine, _copy):
    """Put the states back and forget the drafts; yesterday's load of one region failed at night."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM safe_clear_plan WHERE status = 'ready'"))
        for table, keys in COPIES.items():
            same = " AND ".join(f"{table}.{key} = before.{key}" for key in keys)
            connection.execute(
                text(f"UPDATE {table} SET state = before.state FROM before_{table} before WHERE {same}")
            )
        failed_at = datetime.now(timezone.utc) - timedelta(hours=3)
        for state, where in FAILURES.items():
            connection.execute(
                text(
                    f"UPDATE task_instance SET state = :state, end_date = :at WHERE run_id = :run AND {where}"
                ),
                {"state": state, "at": failed_at, "run": run(1)},
            )
    yield
    server.wait_until(
        lambda: not server.api("GET", "/pluginsv2/safe_clear/plans.json?status=applying").json()["total"],
        "no plan is under way",
    )


def run(days_ago: int) -> str:
    return f"scheduled__{(TODAY - timedelta(days=days_ago)).isoformat()}"


def heading(page):
    return page.get_by_role("heading", level=1)


def tab(server, page, hand, path: str):
    """Go to a place in Airflow's UI and click its Safe Clear tab; return the frame."""
    page.goto(f"{server.url}{path}")
    hand.click(page.get_by_role("link", name="Safe Clear"))
    return the_frame(page)


def is_cleared(frame, count: int) -> None:
    expect(heading(frame)).to_contain_text(f"Cleared {count} task instance")
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()


def show(page, server, **selection: Any) -> None:
    """Open the page of a new plan."""
    answer = server.api("POST", "/pluginsv2/safe_clear/plans", json={"dag_id": DAG, **selection})
    page.goto(address(server, f"plans/{answer.raise_for_status().json()['id']}"))


def test_a_yesterdays_failed_load_and_its_downstream(server, open_page, hand):
    page = open_page(server)
    troubles = Troubles().watch(page)
    frame = tab(server, page, hand, dag_path(DAG))
    expect(heading(frame)).to_have_text(f"Clear 3 task instances in 1 run of {DAG}")
    expect(frame.locator("#task-instances")).to_contain_text("report.daily")
    hand.click(confirm_button(frame))
    is_cleared(frame, 3)
    hand.has_done("a")
    assert troubles.found == []


def test_b_one_mapped_index_by_its_label(server, open_page, hand):
    page = open_page(server)
    frame = tab(server, page, hand, dag_path(DAG, run(2), f"/tasks/{TASK}/mapped/{US}"))
    expect(frame.locator("#task-instances tbody .task").first).to_have_text(f"{TASK} [1] us")
    hand.click(confirm_button(frame))
    is_cleared(frame, 3)
    hand.has_done("b")


def test_c_the_wrong_week_is_corrected(server, open_page, hand):
    page = open_page(server)
    wrong = {
        "date_from": str((TODAY - timedelta(days=4)).date()),
        "date_to": str((TODAY - timedelta(days=3)).date()),
    }
    show(page, server, task_regex="^extract", **wrong)
    hand.click(page.get_by_role("link", name="Change", exact=True))
    hand.click(page.get_by_role("button", name="1 week earlier"))
    expect(page.locator("[name=date_from]")).to_have_value(str((TODAY - timedelta(days=11)).date()))
    expect(page.locator("[name=date_to]")).to_have_value(str((TODAY - timedelta(days=10)).date()))
    hand.click(page.get_by_role("button", name="Preview", exact=True))
    expect(heading(page)).to_have_text(f"Clear 4 task instances in 2 runs of {DAG}")
    hand.has_done("c")


def test_d_thirty_days_of_two_groups(server, open_page, hand):
    page = open_page(server)
    page.goto(address(server, f"select?dag_id={DAG}"))
    tree = page.get_by_role("group", name=re.compile("^Tasks: "))
    hand.click(tree.get_by_role("button", name="extract", exact=True))
    expect(page.locator("[name=task_regex]")).to_have_value(r"^extract\.")
    hand.click(tree.get_by_role("button", name="load", exact=True))
    hand.fill(page.locator("[name=date_from]"), "-30d")
    expect(page.locator("[data-answer=bar]")).to_have_text("72 task instances in 12 runs")
    hand.click(page.get_by_role("button", name="Preview", exact=True))
    expect(heading(page)).to_have_text(f"Clear 72 task instances in 12 runs of {DAG}")
    hand.acknowledge(page)
    hand.fill(page.locator("[name=confirm_dag_id]"), DAG)
    hand.click(confirm_button(page))
    is_cleared(page, 72)
    hand.has_done("d")


def test_e_a_large_clear_is_stopped_and_resumed(server, engine, open_page, hand):
    page = open_page(server)
    show(page, server, task_regex="^extract", date_from=str((TODAY - timedelta(days=3)).date()))
    gate = Gate(engine, DAG, [run(3), run(2), run(1)])
    try:
        Hand().acknowledge(page)
        confirm_button(page).click()
        gate.let_pass()
        expect(heading(page)).to_have_text("Clearing: 2 of 6 task instances")
        hand.click(page.get_by_role("button", name="Stop after this batch"))
        expect(page.get_by_role("button", name="Stopping…")).to_be_visible()
        gate.let_pass()
        expect(heading(page)).to_contain_text("4 of 6 task instances were cleared")
    finally:
        gate.open_for_all()
    hand.click(page.get_by_role("button", name="Resume: clear the remaining 2"))
    is_cleared(page, 6)
    hand.has_done("e")


def test_f_an_undo(server, open_page, hand):
    page = open_page(server)
    show(page, server, task_regex="^report", run_id=[run(5), run(6)])
    Hand().acknowledge(page)
    confirm_button(page).click()
    is_cleared(page, 2)
    hand.click(page.get_by_role("link", name="Undo…"))
    hand.click(page.get_by_role("button", name="Restore 2 task instances"))
    expect(heading(page)).to_have_text("All 2 task instances were restored")
    hand.has_done("f")


def test_g_from_the_tab_of_a_task_instance(server, open_page, hand):
    page = open_page(server)
    frame = tab(server, page, hand, dag_path(DAG, run(7), "/tasks/extract.fx_rates"))
    expect(heading(frame)).to_have_text(f"Clear 8 task instances in 1 run of {DAG}")
    hand.click(confirm_button(frame))
    is_cleared(frame, 8)
    hand.has_done("g")


def test_h_a_viewer_lands_on_the_history(server, open_page, hand):
    frame = tab(server, open_page(server, "viewer"), hand, dag_path(DAG))
    expect(heading(frame)).to_have_text("History")
    expect(frame.get_by_text("What should run again?")).to_have_count(0)
    hand.has_done("h")


def test_i_a_second_person_approves(server, open_page, hand):
    page = open_page(server)
    show(page, server, date_from=str((TODAY - timedelta(days=12)).date()))
    expect(heading(page)).to_have_text(f"Clear 108 task instances in 12 runs of {DAG}")
    hand.fill(page.locator("#reason"), "INC-4712")
    hand.click(page.get_by_role("button", name="Request approval"))
    link = page.get_by_label("Share this link with a second person").input_value()
    other = open_page(server, "operator")
    other.goto(link)
    expect(other.get_by_text("asks for your approval")).to_be_in_viewport()
    hand.acknowledge(other)
    hand.fill(other.locator("[name=confirm_dag_id]"), DAG)
    hand.click(other.get_by_role("button", name="Approve", exact=True))
    is_cleared(other, 108)
    hand.has_done("i")
    # The author sees it without a click.
    expect(heading(page)).to_contain_text("Cleared 108 task instances")


def test_k_who_cleared_last_week(server, open_page, hand):
    page = open_page(server)
    show(page, server, task_regex="^report", run_id=[run(8)])
    Hand().acknowledge(page)
    confirm_button(page).click()
    is_cleared(page, 1)
    frame = tab(server, page, hand, dag_path(DAG, run(8), "/tasks/report.daily"))
    line = frame.locator(".cleared-before")
    expect(line).to_contain_text("was cleared")
    expect(line).to_contain_text(re.compile("by admin", re.IGNORECASE))
    hand.click(line.get_by_role("link", name="See the history"))
    expect(frame.locator("table.history tbody tr").first).to_contain_text("report")
    hand.has_done("k")


def test_l_with_the_keyboard_alone(server, open_page, hand):
    page = open_page(server)
    page.goto(address(server, f"select?dag_id={DAG}&run_id={run(9).replace('+', '%2B')}"))
    expect(page.locator("[data-answer=bar]")).to_have_text("9 task instances in 1 run")
    keys = 0

    def press(key: str) -> None:
        nonlocal keys
        page.keyboard.press(key)
        keys += 1

    press("Shift+C")
    expect(page.get_by_role("button", name="Preview", exact=True)).to_be_focused()
    press("Enter")
    expect(heading(page)).to_be_focused()
    # The table is one stop: the arrow keys go through its rows, and one more Tab leaves it.
    table = page.locator("#task-instances table")
    assert table.locator("[tabindex='0']").count() == 1
    table.locator("[tabindex='0']").focus()
    for key, name in (
        ("ArrowDown", "keep_run"),
        ("ArrowDown", "keep_row"),
        ("End", "keep_row"),
        ("ArrowUp", "keep_row"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.name") == name
    page.keyboard.press("Tab")
    assert table.evaluate("table => table.contains(document.activeElement)") is False
    expect(confirm_button(page)).to_be_visible()
    for _ in page.locator("input[name=acknowledge]").all():
        press("Control+Enter")
        press("Space")
    press("Shift+C")
    expect(confirm_button(page)).to_be_focused()
    press("Enter")
    is_cleared(page, 9)
    assert keys == TABLE["l"][0]


def test_m_on_a_narrow_screen(server, open_page, hand):
    page = open_page(server, viewport={"width": 360, "height": 740})
    page.goto(f"{server.url}{dag_path(DAG)}/plugin/safe_clear_dag")
    offer = the_frame(page).get_by_role("link", name="Open this page by itself")
    hand.click(offer)
    page.wait_for_url(re.compile("/pluginsv2/safe_clear/"))
    expect(heading(page)).to_have_text(f"Clear 3 task instances in 1 run of {DAG}")
    expect(confirm_button(page)).to_be_in_viewport()
    assert sideways(page) == 0
    hand.click(confirm_button(page))
    is_cleared(page, 3)
    hand.has_done("m")
