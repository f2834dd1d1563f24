"""Selecting with eyes open: the answers follow the form, whatever the network does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, looks, open_tab, sideways

RUNS = "date_from=2026-03-01&date_to=2026-03-05"
ORDERS = f"?dag_id=e2e_orders&{RUNS}"


def bar(page):
    return page.locator("[data-answer=bar]")


def answer(page, name: str):
    return page.locator(f"[data-answer={name}]")


def test_the_answers_follow_what_is_typed(prefixed_server, open_page):
    page = open_page(prefixed_server)
    troubles = Troubles().watch(page)
    page.goto(address(prefixed_server, ORDERS))
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    regex = page.locator("[name=task_regex]")
    regex.press_sequentially(r"^load\.o")
    expect(bar(page)).to_have_text("5 task instances in 5 runs")
    expect(regex).to_be_focused()
    expect(answer(page, "tasks")).to_contain_text("1 of 5 tasks matches")
    expect(answer(page, "include_downstream")).to_have_text("+ 25 task instances (25 succeeded)")
    page.get_by_label("Downstream").check()
    expect(bar(page)).to_have_text("30 task instances in 5 runs")
    expect(answer(page, "tasks")).to_contain_text("3 more are included")
    regex.fill("load(")
    expect(bar(page)).to_contain_text("missing )")
    regex.press("Tab")
    expect(page.locator("#task_regex-errors")).to_contain_text("missing )")
    page.get_by_role("button", name="Whole runs").click()
    expect(regex).to_have_value("")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    groups = page.get_by_role("group", name="Task groups")
    groups.get_by_role("button", name="load", exact=True).click()
    expect(regex).to_have_value(r"^load\.")
    expect(answer(page, "note")).to_have_text(
        re.compile(r"Counted at \d\d:\d\d:\d\d UTC. Preview clears nothing")
    )
    assert troubles.found == []


def test_nothing_can_be_typed_before_the_script_has_come(prefixed_server, open_page):
    page = open_page(prefixed_server)
    late = []

    def hold(route) -> None:
        late.append(route)

    page.route(re.compile(r"/static/\w+/select\.js"), hold)
    page.goto(address(prefixed_server, f"?{RUNS}"), wait_until="commit")
    page.wait_for_timeout(500)
    dag_id = page.locator("[name=dag_id]")
    assert len(late) == 1
    assert dag_id.count() == 0
    page.unroute_all()
    for route in late:
        route.fallback()
    dag_id.press_sequentially("e2e_")
    expect(dag_id).to_have_attribute("role", "combobox")
    expect(dag_id).to_be_focused()
    page.keyboard.type("ord")
    expect(page.locator("#dag-list [role=option]")).to_have_text(["e2e_orders"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")


def test_answers_that_come_too_late_are_not_shown(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, ORDERS))
    expect(answer(page, "bar")).to_have_attribute("aria-busy", "false")
    held = []
    regex = page.locator("[name=task_regex]")

    def hold(route) -> None:
        if "task_regex=%5Eextract" in (route.request.post_data or ""):
            held.append(route)  # this one is answered only after the next
        else:
            route.continue_()

    page.route("**/answers", hold)
    regex.fill("^extract")
    expect(answer(page, "bar")).to_have_attribute("aria-busy", "true")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    page.wait_for_timeout(600)
    regex.fill("^verify")
    expect(bar(page)).to_have_text("15 task instances in 5 runs")
    assert len(held) == 1
    late = page.locator("[data-answer=tasks]").inner_text()
    page.wait_for_timeout(300)
    assert page.locator("[data-answer=tasks]").inner_text() == late


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (None, "Can’t reach the server"),
        (401, "You are logged out"),
        (500, "Counting failed (HTTP 500)"),
    ],
)
def test_what_went_wrong_is_said_and_can_be_tried_again(prefixed_server, open_page, failure, words):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, ORDERS))
    expect(answer(page, "bar")).to_have_attribute("aria-busy", "false")
    page.route(
        "**/answers",
        lambda route: route.abort() if failure is None else route.fulfill(status=failure, body="<html>"),
    )
    page.locator("[name=task_regex]").fill("^verify")
    trouble = page.locator("[data-trouble]")
    expect(trouble).to_contain_text(words)
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    expect(bar(page)).to_have_attribute("aria-busy", "true")
    page.unroute("**/answers")
    page.get_by_role("button", name="Try again").press("Enter")
    expect(bar(page)).to_have_text("15 task instances in 5 runs")
    expect(trouble).to_be_hidden()
    expect(page.get_by_role("button", name="Preview")).to_be_focused()


def test_another_session_than_the_pages_is_told_to_reload(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, ORDERS))
    page.locator("[name=csrf_token]").evaluate("input => { input.value = 'forged'; }")
    page.locator("[name=task_regex]").fill("^verify")
    expect(page.locator("[data-trouble]")).to_contain_text("Reload the page")


def test_choosing_a_dag_by_keyboard(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "select"))
    expect(bar(page)).to_have_text("Choose a Dag")
    box = page.get_by_role("combobox", name="Dag", exact=True)
    box.press_sequentially("e2e_")
    options = page.get_by_role("listbox", name="DAGs").get_by_role("option")
    expect(options).to_have_count(3)
    expect(box).to_have_attribute("aria-expanded", "true")
    box.press("ArrowDown")
    box.press("ArrowDown")
    active = page.locator("[role=option][aria-selected=true]")
    expect(active).to_have_count(1)
    chosen = active.get_attribute("data-value")
    expect(box).to_have_attribute("aria-activedescendant", active.get_attribute("id"))
    box.press("Enter")
    expect(box).to_have_value(chosen)
    expect(box).to_have_attribute("aria-expanded", "false")
    expect(answer(page, "dag")).to_contain_text(f"{chosen} is active")
    expect(page).to_have_url(address(prefixed_server, f"select?dag_id={chosen}"))
    box.fill("no such dag")
    expect(page.get_by_role("listbox")).to_contain_text("No matching Dag")
    box.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_a_list_that_comes_after_the_choice_stays_closed(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "select"))
    box = page.get_by_role("combobox", name="Dag", exact=True)
    box.press_sequentially("e2e_")
    expect(page.get_by_role("listbox", name="DAGs").get_by_role("option")).to_have_count(3)
    held = []

    def hold(route):
        held.append(route)

    page.route("**/dags.json*", hold)
    with page.expect_request("**/dags.json*"):
        box.press("o")
    box.press("ArrowDown")
    box.press("Enter")
    chosen = box.input_value()
    assert chosen.startswith("e2e_")
    assert len(chosen) > len("e2e_o")
    with page.expect_response("**/dags.json*"):
        held.pop().continue_()
    page.wait_for_timeout(200)
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(box).to_have_value(chosen)


def test_quick_ranges_and_the_switch_to_run_after_fill_in_the_form(prefixed_server, open_page):
    page = open_page(prefixed_server, timezone_id="America/New_York")
    page.goto(address(prefixed_server, "?dag_id=e2e_orders"))
    expect(answer(page, "when")).to_contain_text("Choose a date range")
    page.get_by_role("button", name="Last 7 days").click()
    expect(page.locator("[name=date_from]")).to_have_value(re.compile(r"\d{4}-\d\d-\d\d"))
    expect(answer(page, "when")).to_contain_text("7 full days")
    expect(answer(page, "when")).to_contain_text("America/New_York, yours")
    expect(answer(page, "since")).to_contain_text("The last dag run succeeded")


@pytest.fixture
def run_without_a_date(prefixed_server):
    """Take the logical date and the data from the only run of a DAG for as long as the test lasts."""
    engine = create_engine(prefixed_server.sqlalchemy_url, isolation_level="AUTOCOMMIT")
    of_dag = "FROM dag_run WHERE dag_id = 'e2e_team_b'"
    with engine.connect() as connection:
        columns = ("logical_date", "data_interval_start", "data_interval_end", "run_after")
        before = connection.execute(text(f"SELECT run_id, {', '.join(columns)} {of_dag}")).one()._asdict()
        change = text(
            f"UPDATE dag_run SET {', '.join(f'{name} = :{name}' for name in columns)} "
            "WHERE run_id = :run_id AND dag_id = 'e2e_team_b'"
        )
        connection.execute(
            change,
            {**before, **dict.fromkeys(columns), "run_after": before["run_after"] + timedelta(hours=1)},
        )
        yield
        connection.execute(change, before)
    engine.dispose()


def test_the_group_of_failed_states_takes_setups_along(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, ORDERS))
    setups = page.get_by_role("checkbox", name="With setups and teardowns")
    group = page.get_by_role("group", name="Groups of states")
    expect(setups).not_to_be_checked()
    group.get_by_role("button", name="Failed and Upstream Failed").click()
    expect(setups).to_be_checked()
    group.get_by_role("button", name="Any state").click()
    expect(setups).not_to_be_checked()
    group.get_by_role("button", name="Failed and Upstream Failed").click()
    states = page.locator("[name=state]:checked")
    assert states.evaluate_all("boxes => boxes.map(box => box.value)") == ["failed", "upstream_failed"]
    setups.uncheck()
    expect(setups).not_to_be_checked()
    setups.check()
    with page.expect_request(re.compile("/plans$")) as sent:
        page.get_by_role("button", name="Preview").first.click()
    assert "include_setups" in (sent.value.post_data or "")


def test_what_lies_outside_and_what_to_do_about_it(prefixed_server, open_page, run_without_a_date):
    page = open_page(prefixed_server, permissions=["clipboard-read", "clipboard-write"])
    page.clock.install()
    page.goto(address(prefixed_server, "?dag_id=e2e_team_b&date_from=2026-03-01&date_to=2026-03-09"))
    expect(bar(page)).to_have_attribute("aria-busy", "false")
    missing = page.locator(".aside", has_text="1 schedule interval in this range has no dag run")
    expect(missing).to_contain_text("Sun 2026-03-01 00:00 UTC")
    page.clock.pause_at(datetime.now(timezone.utc) + timedelta(minutes=1))  # it says so for two seconds
    missing.get_by_role("button", name="Copy").click()
    expect(missing.get_by_role("button", name="Copied")).to_be_focused()
    page.clock.resume()
    expect(missing.get_by_role("button", name="Copy", exact=True)).to_be_focused()
    command = page.locator("#backfill-command").inner_text()
    assert page.evaluate("navigator.clipboard.readText()") == command
    assert command.startswith(
        "airflow backfill create --dag-id=e2e_team_b --from-date 2026-03-01T00:00:00+00:00"
    )

    outside = page.locator(".aside", has_text="1 run has no logical date and is not in the range")
    outside.get_by_role("button", name="Use run_after").press("Enter")
    expect(page.locator("[name=date_field]")).to_have_value("run_after")
    expect(page.locator("[name=date_field]")).to_be_focused()
    expect(bar(page)).to_contain_text("in 1 run")
    expect(outside).to_have_count(0)


def test_in_airflows_frame(prefixed_server, open_page):
    page = open_page(prefixed_server)
    troubles = Troubles().watch(page)
    frame = open_tab(prefixed_server, page, "/dags/e2e_orders")
    frame.locator("[name=date_from]").fill("2026-03-01")
    frame.locator("[name=date_to]").fill("2026-03-02")
    expect(frame.locator("[data-answer=bar]")).to_have_text("14 task instances in 2 runs")
    assert troubles.found == []


def test_without_javascript_a_prefilled_page_has_its_answers(prefixed_server, open_page):
    page = open_page(prefixed_server, java_script_enabled=False)
    page.goto(address(prefixed_server, ORDERS))
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    expect(page.get_by_role("button", name="Whole runs")).to_be_hidden()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear 35 task instances")


@pytest.mark.parametrize(("mode", "width"), looks())
def test_axe_finds_nothing(prefixed_server, open_page, mode, width):
    page = open_page(prefixed_server, color_scheme=mode, viewport={"width": width, "height": 900})
    page.goto(address(prefixed_server, ORDERS + "&task_regex=^load&include_downstream=true"))
    expect(bar(page)).to_have_attribute("aria-busy", "false")
    assert sideways(page) == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("combobox", name="Dag", exact=True).press("ArrowDown")
    expect(page.get_by_role("listbox", name="DAGs").get_by_role("option").first).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_it_says_that_it_counts_instead_of_asking_for_what_was_just_given(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "select?dag_id=e2e_orders"))
    expect(bar(page)).to_have_attribute("aria-busy", "false")
    prompt = bar(page).locator("[data-prompt]")
    expect(prompt).to_be_visible()
    # The question is never answered.
    page.route("**/answers", lambda _: None)
    page.locator("[name=date_from]").fill("2026-03-01")
    expect(bar(page)).to_have_attribute("aria-busy", "true")
    expect(prompt).to_be_hidden()
    assert bar(page).evaluate("one => getComputedStyle(one, '::before').content") == '"Counting…"'
    page.unroute("**/answers")
    page.locator("[name=date_to]").fill("2026-03-05")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
