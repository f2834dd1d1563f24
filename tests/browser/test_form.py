"""The form as a person fills it in: errors at their field, dates as people say them, tasks by a press.

Nothing is lost by Back or a reload.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.frames import Troubles, address, the_frame

RUNS = "date_from=2026-03-01&date_to=2026-03-05"
ORDERS = f"select?dag_id=e2e_orders&{RUNS}"


@pytest.fixture
def form(prefixed_server, open_page):
    """Return a function that opens the form, filled in by a link, once its answers are there."""

    def show(query: str = ORDERS, **options):
        page = open_page(prefixed_server, **options)
        page.goto(address(prefixed_server, query))
        expect(bar(page)).to_have_attribute("aria-busy", "false")
        return page

    return show


def bar(page):
    return page.locator("[data-answer=bar]")


def field(page, name: str):
    return page.locator(f"[name={name}]")


def error(page, name: str):
    return page.locator(f"#{name}-errors")


def test_an_error_stands_below_its_field_once_the_field_is_left(form):
    page = form()
    date = field(page, "date_from")
    date.fill("23 Mov")
    expect(bar(page)).to_contain_text("Enter a date")
    expect(error(page, "date_from")).to_have_count(0)
    date.press("Tab")
    expect(error(page, "date_from")).to_contain_text("Enter a date (2026-11-01)")
    expect(date).to_have_attribute("aria-invalid", "true")
    expect(date).to_have_accessible_description(re.compile("Enter a date"))
    assert date.evaluate("field => getComputedStyle(field).borderColor") != field(page, "date_to").evaluate(
        "field => getComputedStyle(field).borderColor"
    )
    assert Axe().run(page).violations_count == 0
    date.fill("2026-03-01")
    expect(error(page, "date_from")).to_have_count(0)
    expect(date).not_to_have_attribute("aria-invalid", "true")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")


def test_two_dates_the_wrong_way_round_change_places(form):
    page = form("select?dag_id=e2e_orders&date_from=2026-03-05&date_to=2026-03-01")
    expect(error(page, "date_to")).to_contain_text("is later than")
    page.get_by_role("button", name="Swap the two dates").press("Enter")
    expect(field(page, "date_from")).to_have_value("2026-03-01")
    expect(field(page, "date_from")).to_be_focused()
    expect(field(page, "date_to")).to_have_value("2026-03-05")
    expect(bar(page)).to_have_text("35 task instances in 5 runs")
    expect(error(page, "date_to")).to_have_count(0)


def test_dates_as_people_say_them(form):
    page = form()
    field(page, "date_from").fill("1 Mar 2026")
    field(page, "date_to").fill("Mar 2 2026 23:00")
    expect(bar(page)).to_have_text("14 task instances in 2 runs")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear 14 task instances")
    page.goto(
        page.url.rsplit("/plans", 1)[0] + "/select?dag_id=e2e_orders&date_from=yesterday&date_to=yesterday"
    )
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    expect(page.locator("[data-answer=when]")).to_contain_text(f"{yesterday:%a} {yesterday.day} ")
    expect(page.locator("[data-answer=when]")).to_contain_text("1 full day")


def test_back_and_a_reload_find_the_form_as_it_was(form):
    page = form("select?dag_id=e2e_orders")
    field(page, "date_from").fill("2026-03-01")
    field(page, "date_to").fill("2026-03-03")
    field(page, "task_regex").fill("^load")
    page.get_by_label("Downstream").check()
    expect(bar(page)).to_have_text("18 task instances in 3 runs")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear 18 task instances")
    page.go_back()

    def as_it_was() -> None:
        expect(field(page, "date_from")).to_have_value("2026-03-01")
        expect(field(page, "date_to")).to_have_value("2026-03-03")
        expect(field(page, "task_regex")).to_have_value("^load")
        expect(page.get_by_label("Downstream")).to_be_checked()
        expect(bar(page)).to_have_text("18 task instances in 3 runs")

    as_it_was()
    page.reload()
    as_it_was()


def test_a_plan_in_airflows_tab_is_there_again_after_a_reload(prefixed_server, open_page):
    page = open_page(prefixed_server)
    troubles = Troubles().watch(page)
    page.goto(f"{prefixed_server.url}/dags/e2e_orders")
    page.get_by_role("link", name="Safe Clear").click()
    frame = the_frame(page)
    field(frame, "date_from").fill("2026-03-01")
    field(frame, "date_to").fill("2026-03-02")
    expect(bar(frame)).to_have_text("14 task instances in 2 runs")
    page.reload()
    frame = the_frame(page)
    expect(field(frame, "date_from")).to_have_value("2026-03-01")
    expect(bar(frame)).to_have_text("14 task instances in 2 runs")
    frame.get_by_role("button", name="Preview").click()
    expect(frame.get_by_role("heading", level=1)).to_contain_text("Clear 14 task instances")
    shown = next(one.url for one in page.frames if "/plans/" in one.url)
    page.reload()
    expect(the_frame(page).get_by_role("heading", level=1)).to_contain_text("Clear 14 task instances")
    assert shown in [one.url for one in page.frames]
    # Another visit to the tab begins at its beginning.
    page.goto(f"{prefixed_server.url}/dags/e2e_orders")
    page.get_by_role("link", name="Safe Clear").click()
    expect(the_frame(page).locator("[name=date_from]")).to_have_value("")
    assert troubles.found == []


def test_a_press_on_a_task_selects_it_or_leaves_it_out(form):
    page = form()
    tree = page.get_by_role("group", name=re.compile("^Tasks: "))
    task = tree.get_by_role("button", name="orders", exact=True)
    task.click()
    expect(field(page, "task_regex")).to_have_value(r"^load\.orders$")
    expect(bar(page)).to_have_text("5 task instances in 5 runs")
    expect(task).to_have_attribute("aria-pressed", "true")
    expect(task).to_be_focused()
    tree.get_by_role("button", name="extract", exact=True).click()
    expect(field(page, "task_regex")).to_have_value(r"^load\.orders$|^extract$")
    expect(bar(page)).to_have_text("10 task instances in 5 runs")
    task.click()
    expect(field(page, "task_regex")).to_have_value("^extract$")
    tree.get_by_role("button", name="load", exact=True).click()
    expect(field(page, "task_regex")).to_have_value(r"^extract$|^load\.")
    expect(task).to_have_attribute("aria-pressed", "true")
    # What a wider expression matches is left out by its id, and comes back.
    task.click()
    expect(field(page, "exclude_task_id")).to_have_value("load.orders")
    expect(task).to_have_attribute("aria-pressed", "false")
    task.click()
    expect(field(page, "exclude_task_id")).to_have_value("")
    expect(task).to_have_attribute("aria-pressed", "true")


def test_a_press_on_a_task_changes_the_list_of_ids_where_there_is_one(form):
    page = form()
    tree = page.get_by_role("group", name=re.compile("^Tasks: "))
    task = tree.get_by_role("button", name="orders", exact=True)
    page.get_by_text("More options").click()
    ids = field(page, "task_ids")
    ids.fill("load.orders")
    expect(task).to_have_attribute("aria-pressed", "true")
    expect(bar(page)).to_have_text("5 task instances in 5 runs")
    tree.get_by_role("button", name="extract", exact=True).click()
    expect(ids).to_have_value("load.orders\nextract")
    expect(field(page, "task_regex")).to_have_value("")
    expect(bar(page)).to_have_text("10 task instances in 5 runs")
    task.click()
    expect(ids).to_have_value("extract")
    tree.get_by_role("button", name="load", exact=True).click()
    expect(task).to_have_attribute("aria-pressed", "true")
    tree.get_by_role("button", name="load", exact=True).click()
    expect(ids).to_have_value("extract")
    # A chip is a regex, or whole runs: it takes the place of the list.
    chips = page.locator("[data-regexes]")
    chips.get_by_role("button").last.click()
    expect(ids).to_have_value("")
    expect(field(page, "task_regex")).not_to_have_value("")


def test_a_list_of_ids_and_a_regex_are_refused_together(form):
    page = form()
    page.get_by_text("More options").click()
    field(page, "task_ids").fill("load.orders")
    field(page, "task_regex").fill("extract")
    expect(page.get_by_text("Both a task regex and task ids choose the tasks.").first).to_be_visible()


def test_the_tasks_are_one_tab_stop(form):
    page = form()
    tree = page.locator(".tree")
    assert tree.locator("[tabindex='0']").count() == 1
    tree.locator("[tabindex='0']").focus()
    page.keyboard.press("End")
    expect(tree.locator("button").last).to_be_focused()
    page.keyboard.press("Home")
    expect(tree.locator("button").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(tree.locator("button").nth(1)).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('.tree').contains(document.activeElement)") is False
