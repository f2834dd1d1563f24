"""The history, a request for approval that both sides follow, and an undo that counts down."""

from __future__ import annotations

import re
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.conftest import DAG_IDS, HISTORY
from tests.browser.frames import Troubles, address, open_tab
from tests.browser.test_pages import PICTURES

DAG = "e2e_orders"
RUNS = [f"scheduled__2026-03-0{day}T00:00:00+00:00" for day in range(1, 6)]
AIRFLOWS_FRAME = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def server(make_airflow_server, history):
    """Start an api-server alone, where a plan of more than two task instances needs a second person."""
    server = make_airflow_server(template=HISTORY, AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE="2")
    server.start(components=(), dag_ids=DAG_IDS)
    return server


@pytest.fixture
def execute(server):
    """Return a function that runs a statement on the server's metadata database and commits it."""
    engine = create_engine(server.sqlalchemy_url)

    def execute(statement: str, **values: object) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), values)

    yield execute
    engine.dispose()


def plan(server, **body):
    answer = server.api(
        "POST", "/pluginsv2/safe_clear/plans", json={"dag_id": DAG, "task_regex": "^report$", **body}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def post(server, made, step, user="admin", **body):
    answer = server.api("POST", f"/pluginsv2/safe_clear/plans/{made['id']}/{step}", user=user, json=body)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def clear(server, reason="", **body):
    made = plan(server, **body)
    ticked = [found["code"] for found in made["findings"] if found["level"] == "acknowledge"]
    given = {"reason": reason} if reason else {}
    post(server, made, "apply", fingerprint=made["fingerprint"], acknowledge=ticked, **given)
    server.wait_until(lambda: status(server, made) == "applied", "the plan is applied")
    return made


def status(server, made):
    return server.api("GET", f"/pluginsv2/safe_clear/plans/{made['id']}.json?limit=1").json()["status"]


def look(page, name, frame=None):
    """Take pictures in both modes, and have axe look."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for mode in ("light", "dark"):
        page.evaluate(
            "mode => { const { classList, style } = document.documentElement;"
            " classList.remove('light', 'dark'); classList.add(mode); style.colorScheme = mode; }",
            mode,
        )
        page.screenshot(path=PICTURES / f"{name}-{mode}.png", animations="disabled", scale="css")
    ours = next((one for one in page.frames if "/safe_clear/" in one.url), page)
    # The grid is dimmed while it fits itself to another width.
    expect(ours.locator("[aria-busy=true]")).to_have_count(0)
    found = Axe().run(ours)
    assert found.violations_count == 0, f"{name}\n{found.generate_report()}"
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert ours.evaluate(wide) == 0, name


def test_the_history_of_a_task_instance(server, open_page):
    first = clear(server, run_id=RUNS[:1], reason="INC-4711")
    second = clear(server, run_id=RUNS[:2], task_regex="^extract$")
    answer = server.api(
        "POST",
        f"/api/v2/dags/{DAG}/clearTaskInstances",
        user="operator",
        json={"dry_run": False, "task_ids": ["report"], "dag_run_id": RUNS[0], "only_failed": False},
    )
    assert answer.status_code == 200, answer.text
    plan(server, run_id=RUNS[2:3])
    page = open_page(server, viewport=AIRFLOWS_FRAME)
    troubles = Troubles().watch(page)
    frame = open_tab(server, page, f"/dags/{DAG}")
    frame.get_by_role("link", name="History", exact=True).click()
    rows = frame.locator("table.history tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Airflow’s own")
    expect(rows.first).to_contain_text("operator")
    assert max(row.bounding_box()["height"] for row in rows.all()) < 40
    look(page, "history")
    frame.get_by_label("Task", exact=True).fill("report")
    frame.get_by_label("Dag run", exact=True).fill(RUNS[0])
    frame.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(2)
    expect(frame.get_by_text("Airflow’s own clears are listed only if")).to_be_visible()
    mine = rows.nth(1)
    expect(mine.get_by_text("INC-4711")).to_be_hidden()
    mine.locator("summary").click()
    expect(mine.get_by_text("INC-4711")).to_be_visible()
    frame.get_by_role("link", name="Clear filters").click()
    expect(rows).to_have_count(3)
    frame.get_by_role("link", name="Task instances").click()
    expect(rows.nth(0).get_by_role("link")).to_have_attribute("href", re.compile(second["id"]))
    frame.get_by_role("link", name="Drafts").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Ready")
    assert first["id"] != second["id"]
    page.goto(
        address(server, f"?dag_id={DAG}&task_id=report&run_id={RUNS[0].replace('+', '%2B')}&map_index=-1")
    )
    expect(page.locator(".cleared-before")).to_contain_text(
        "This task instance was cleared once with Safe Clear, and Airflow was asked to clear it once"
    )
    page.get_by_role("link", name="See the history").click()
    expect(page.locator("table.history tbody tr")).to_have_count(2)
    page.set_viewport_size(NARROW)
    look(page, "history-narrow")
    assert troubles.found == []


def test_an_approval_is_followed_by_both(server, open_page):
    made = plan(server, run_id=RUNS[2:5], task_regex="^extract$")
    post(server, made, "ask", reason="INC-4712: reload after the schema change")
    author = open_page(server, viewport=AIRFLOWS_FRAME)
    troubles = Troubles().watch(author)
    author.goto(address(server, f"plans/{made['id']}"))
    expect(author.locator(".request")).to_contain_text("Waiting for approval")
    author.context.grant_permissions(["clipboard-read", "clipboard-write"])
    author.get_by_role("button", name="Copy", exact=True).click()
    expect(author.get_by_role("button", name="Copied")).to_be_visible()
    assert author.evaluate("navigator.clipboard.readText()") == author.url
    look(author, "approval-author")

    other = open_page(server, user="operator", viewport=AIRFLOWS_FRAME)
    frame = open_tab(server, other, f"/dags/{DAG}")
    badge = frame.get_by_role("link", name="Waiting for your approval")
    expect(badge).to_have_text(re.compile(r"1$"))
    badge.click()
    expect(frame.locator("table.history tbody tr")).to_have_count(1)
    frame.locator("table.history .dag a").click()
    card = frame.locator(".request")
    expect(card).to_contain_text("asks for your approval")
    expect(card).to_contain_text("INC-4712")
    assert card.bounding_box()["y"] < 500
    look(other, "approval")
    card.get_by_text("Decline…").click()
    card.get_by_label("Reason").fill("not before the month is closed")
    before = time.monotonic()
    card.get_by_role("button", name="Decline the plan").click()
    expect(author.get_by_role("heading", level=1)).to_have_text("Declined: nothing was cleared")
    assert time.monotonic() - before < 15  # four seconds, and time for a busy machine
    expect(author.get_by_text("not before the month is closed")).to_be_visible()
    expect(frame.get_by_role("link", name="Waiting for your approval")).to_have_count(0)
    author.set_viewport_size(NARROW)
    look(author, "declined-narrow")
    assert troubles.found == []


def test_an_approval_from_the_card(server, open_page):
    made = plan(server, run_id=RUNS[2:5], task_regex="^load.orders$")
    post(server, made, "ask", reason="again")
    other = open_page(server, user="operator", viewport=NARROW)
    other.goto(address(server, f"plans/{made['id']}"))
    look(other, "approval-narrow")
    approve = other.get_by_role("button", name="Approve", exact=True)
    approve.click()
    for box in other.locator("input[name=acknowledge]").all():
        box.check()
    approve.click()
    expect(other.get_by_role("heading", level=1)).to_have_text(f"Cleared 3 task instances in 3 runs of {DAG}")


def test_an_undo_counts_down(server, open_page, execute):
    made = clear(server, run_id=RUNS[3:5], task_regex="^load.customers$")
    page = open_page(server, viewport=AIRFLOWS_FRAME)
    troubles = Troubles().watch(page)
    page.goto(address(server, f"plans/{made['id']}/undo"))
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Restore 2 of 2 task instances")
    expect(page.locator("td.comes-back")).to_have_count(2)
    start = (
        "UPDATE task_instance SET state = 'running', start_date = now() WHERE dag_id = :dag"
        " AND task_id = 'load.customers' AND run_id = :run"
    )
    execute(start, dag=DAG, run=RUNS[3])
    expect(heading).to_have_text("Restore 1 of 2 task instances")
    expect(page.get_by_text("1 more started, or changed otherwise")).to_be_visible()
    expect(page.get_by_role("button", name="Restore 1 task instance")).to_be_visible()
    first_run = page.locator("#choose tbody tr", has_text=RUNS[3])
    expect(first_run.locator(".num").first).to_have_text("0 restored")
    reason = page.get_by_role("textbox", name="Reason")
    reason.fill("mixed the date")
    page.get_by_role("button", name="Pause the Dag first").click()
    expect(page.get_by_text("is paused: only task instances that are already queued")).to_be_visible()
    assert server.api("GET", f"/api/v2/dags/{DAG}").json()["is_paused"] is True
    look(page, "undo-counting")
    expect(reason).to_have_value("mixed the date")
    page.set_viewport_size(NARROW)
    look(page, "undo-counting-narrow")
    page.get_by_role("button", name="Restore 1 task instance").click()
    expect(page.locator(".tag").first).to_have_text("Undone in part")
    assert troubles.found == []


def test_an_undo_that_has_nothing_left_to_restore_promises_nothing(server, open_page, execute):
    made = clear(server, run_id=RUNS[2:3], task_regex="^load.customers$")
    page = open_page(server)
    page.goto(address(server, f"plans/{made['id']}/undo"))
    expect(page.get_by_role("button", name="Restore 1 task instance")).to_be_enabled()
    page.get_by_role("textbox", name="Reason").fill("mixed the date")
    execute(
        "UPDATE task_instance SET state = 'running', start_date = now() WHERE dag_id = :dag"
        " AND task_id = 'load.customers' AND run_id = :run",
        dag=DAG,
        run=RUNS[2],
    )
    expect(page.get_by_text("Copy your reason, then reload this page")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing can be restored any more.")
    expect(page.locator('button[form="confirm"]')).to_be_disabled()
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("mixed the date")
