"""The grid and the table of a plan, with keys, with the mouse, on a narrow screen and without a script."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from safe_clear_plugin.core.outcomes import OUTCOME_LABELS, REASON_WORDS, OutcomeReason
from tests.browser.frames import Troubles, address, confirm, confirm_button, open_tab, preview, sideways

# Days that no other test of this server clears.
DAYS = {"date_from": "2026-03-04", "date_to": "2026-03-05"}
CLEAR = re.compile(r"^Clear \d+ task instances$")


@pytest.fixture
def plan_page(prefixed_server, open_page):
    """Return a function that previews two days of a task and what is downstream of it."""

    def make(**options):
        page = open_page(prefixed_server, **options)
        page.goto(address(prefixed_server, "?dag_id=e2e_orders&include_downstream=true"))
        preview(page, task_regex="^extract$", **DAYS)
        return page

    return make


def focused(page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''"))


def test_one_tab_stop_and_arrows(plan_page):
    page = plan_page()
    table = page.get_by_role("grid")
    expect(table.locator("[tabindex='0']")).to_have_count(1)
    assert page.evaluate("[...document.querySelectorAll('.grid a')].every(link => link.tabIndex === -1)")
    table.locator("[tabindex='0']").focus()
    first = focused(page)
    assert re.search(r"2026-03-04.* · extract · .*Success → No Status", first)
    expect(page.locator("[data-readout]")).to_have_text(first)
    page.keyboard.press("ArrowRight")
    assert re.search(r"2026-03-05.* · extract", focused(page))
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-readout]")).to_have_text("load")
    page.keyboard.press("ArrowDown")
    assert re.search(r"2026-03-05.* · load\.orders", focused(page))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert focused(page) == first
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.matches('tr > th:first-child')")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.matches('td.sum')")
    page.keyboard.press("PageUp")
    page.keyboard.press("Control+Home")
    assert page.evaluate("document.activeElement.parentElement.rowIndex") == 0
    page.keyboard.press("Control+End")
    page.keyboard.press("PageDown")
    assert table.locator("[tabindex='0']").count() == 1


def test_enter_filters_the_table_and_a_chip_takes_it_back(plan_page):
    page = plan_page()
    troubles = Troubles().watch(page)
    page.get_by_role("textbox", name="Reason").fill("typed before")
    page.get_by_role("grid").locator("[tabindex='0']").focus()
    page.keyboard.press("Enter")
    chips = page.locator(".filtered .chip")
    expect(chips).to_have_count(2)
    expect(page.locator("#task-instances tbody tr:not(.run)")).to_have_count(1)
    expect(page.locator("#rows-title")).to_be_focused()
    assert "task_id=extract" in page.url
    assert "run_id=scheduled__2026-03-04" in page.url
    chips.first.click()
    expect(chips).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    expect(chips).to_have_count(0)
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("typed before")
    assert troubles.found == []


def test_zooming_stays_in_place(plan_page):
    page = plan_page()
    page.get_by_role("textbox", name="Reason").fill("typed before")
    page.locator(".levels a", has_text="By day").click()
    current = page.locator(".levels [aria-current]")
    expect(current).to_have_text("By day")
    page.get_by_role("columnheader", name="Wed 4 Mar 2026, 1 run").get_by_role("link").click()
    expect(page.locator(".grid-bar b")).to_have_text("Wed 4 Mar 2026")
    assert "from=2026-03-04" in page.url
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("typed before")
    page.get_by_role("link", name="Whole plan").click()
    expect(page.locator(".grid-bar b")).to_have_count(0)
    assert page.evaluate("document.activeElement.closest('.grid') !== null")


def test_what_is_unticked_stays_so_over_orders_and_filters(plan_page):
    page = plan_page()
    page.get_by_role("textbox", name="Reason").fill("kept for the next plan")
    rows = page.locator("#task-instances tbody tr:not(.run)")
    before = rows.count()
    box = rows.first.get_by_role("checkbox")
    key = json.loads(rows.first.locator("[name=row]").input_value())
    box.uncheck()
    expect(page.locator("[data-unticked]")).to_have_text("Unticked: 1 task instance")
    page.locator("[data-sort=task]").click()
    # Only then has the table been replaced, with what is typed into its filters.
    expect(page.locator("[data-sort=task] .way")).to_have_text("↑")
    expect(page.locator("[data-sort=task]")).to_be_focused()
    expect(page.locator("#task-instances [name=keep_row]:not(:checked)")).to_have_count(1)
    page.locator("#filter-task").fill("nothing like it")
    page.locator("#filter-task").press("Enter")
    expect(rows).to_have_count(0)
    expect(page.locator("[data-unticked]")).to_have_text("Unticked: 1 task instance")
    page.get_by_role("button", name="Preview without the unticked rows").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Clear {before - 1} task instances")
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("kept for the next plan")
    left = [
        json.loads(value)
        for value in page.locator("#task-instances td [name=row]").evaluate_all(
            "fields => fields.map(field => field.value)"
        )
    ]
    assert key not in left
    assert len(left) == before - 1


def test_what_is_typed_while_the_table_is_on_its_way_is_kept(plan_page):
    page = plan_page()
    held = []

    def hold(route):
        held.append(route)

    page.route(re.compile(r"\bsort=task\b"), hold, times=1)
    page.locator("[data-sort=task]").click()
    expect(page.locator("#task-instances")).to_have_attribute("aria-busy", "true")
    page.locator("#filter-task").press_sequentially("load")
    held.pop().continue_()
    expect(page.locator("[data-sort=task] .way")).to_have_text("↑")
    expect(page.locator("#filter-task")).to_have_value("load")
    expect(page.locator("#filter-task")).to_be_focused()
    page.keyboard.type(".customers")
    expect(page.locator("#filter-task")).to_have_value("load.customers")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("task=load.customers"))
    expect(page.locator("#task-instances tbody tr:not(.run)")).to_have_count(2)


def test_nothing_is_cleared_while_something_is_unticked(plan_page):
    page = plan_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    for box in page.locator("input[name=acknowledge]").all():
        box.check()
    button, left = confirm_button(page), page.locator("[data-left]")
    expect(button).to_have_text(CLEAR)
    box = page.locator("#task-instances [name=keep_row]").first
    box.uncheck()
    expect(left).to_have_text("Preview without the unticked rows")
    expect(button).to_have_text("Preview without 1")
    box.check()
    expect(left).to_have_text("")
    expect(button).to_have_text(CLEAR)
    box.uncheck()
    # Nor when it is not on the page any more.
    page.locator("#filter-task").fill("nothing like it")
    page.locator("#filter-task").press("Enter")
    expect(page.locator("#task-instances .none")).to_be_visible()
    assert "POST" not in sent
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-unticked]")).to_contain_text("Untick anything you want to leave alone")
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("Cleared")
    expect(left).not_to_contain_text("unticked")


def test_what_is_unticked_outlasts_trouble_and_leaving(plan_page):
    page = plan_page()
    page.locator("#task-instances [name=keep_row]").first.uncheck()
    unticked = page.locator("[data-unticked]")
    page.route("**/rows?*", lambda route: route.abort())
    page.locator("[data-sort=task]").click()
    expect(page.locator("#task-instances [data-trouble]")).to_contain_text("unchanged; try again")
    expect(unticked).to_have_text("Unticked: 1 task instance")
    page.unroute("**/rows?*")
    page.route("**/grid?*", lambda route: route.abort())
    page.locator(".levels a", has_text="By day").click()
    expect(page.locator("[data-readout]")).to_contain_text("unchanged; try again")
    expect(unticked).to_have_text("Unticked: 1 task instance")
    page.unroute("**/grid?*")
    page.locator("[data-sort=task]").click()
    expect(page.locator("[data-sort=task] .way")).to_have_text("↑")
    expect(page.locator("#task-instances [data-trouble]")).to_have_count(0)
    page.locator("#filter-task").fill("nothing like it")
    page.locator("#filter-task").press("Enter")
    expect(page.locator("#task-instances .none")).to_be_visible()
    page.get_by_role("link", name="History", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("History")
    page.go_back()
    expect(unticked).to_have_text("Unticked: 1 task instance")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#task-instances [name=keep_row]:not(:checked)")).to_have_count(1)
    expect(confirm_button(page)).to_have_text("Preview without 1")
    page.locator("#task-instances [name=keep_row]:not(:checked)").check()
    page.reload()
    expect(unticked).to_contain_text("Untick anything you want to leave alone")


def test_the_grid_of_a_receipt_is_renewed_as_it_is_shown(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "?dag_id=e2e_changing"))
    preview(page, date_from="2026-03-01", date_to="2026-03-02")
    page.clock.install()
    confirm(page)
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("Cleared")
    asked, held = [], []

    def hold(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile(r"/grid(\?|$)"), hold)
    heading.focus()
    page.clock.fast_forward(11_000)
    expect(page.locator("#grid")).to_have_attribute("aria-busy", "true")
    # A zoom while the grid is being renewed takes its place.
    page.locator(".levels a", has_text="By day").click()
    current = page.locator(".levels [aria-current]")
    expect(current).to_have_text("By day")
    held.pop().continue_()
    heading.focus()
    for renewals in (3, 4):
        page.wait_for_timeout(300)
        with page.expect_response(re.compile("/grid.*grid=day")):
            page.clock.fast_forward(11_000)
        assert len(asked) == renewals
    expect(current).to_have_text("By day")


def test_a_receipt_that_is_refused_is_asked_for_itself(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "?dag_id=e2e_team_b"))
    preview(page, date_from="2026-03-01", date_to="2026-03-02")
    confirm(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Cleared")
    page.route("**/progress.json", lambda route: route.fulfill(status=401, json={"error": "x"}), times=1)
    with page.expect_event("load"):
        page.wait_for_event("framenavigated")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Cleared")


def test_without_a_script(plan_page):
    page = plan_page(java_script_enabled=False)
    page.get_by_role("link", name="By day").click()
    expect(page.locator(".levels [aria-current]")).to_have_text("By day")
    page.get_by_role("link", name="extract", exact=True).last.click()
    expect(page.locator(".filtered .chip")).to_have_count(1)
    expect(page.locator(".levels [aria-current]")).to_have_text("By day")
    page.locator("[name=keep_row]").first.uncheck()
    page.get_by_role("button", name="Preview without the unticked rows").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear")
    assert "exclude" not in page.url


@pytest.mark.parametrize("width", [360, 1280])
def test_only_the_grid_scrolls_sideways(plan_page, width):
    page = plan_page(viewport={"width": width, "height": 800})
    expect(page.get_by_role("grid")).to_be_visible()
    assert sideways(page) == 0


WRITE_OUTCOME = """([label, reason]) => {
  for (const cell of document.querySelectorAll("#task-instances td.outcome")) {
    cell.classList.add("not-run");
    const [said, because] = [document.createElement("span"), document.createElement("span")];
    Object.assign(said, { textContent: label });
    Object.assign(because, { textContent: reason, className: "because" });
    cell.replaceChildren(said, because);
  }
}"""
MEASURE_OUTCOME = """cell => {
  const said = cell.firstElementChild.getBoundingClientRect();
  const inside = cell.clientWidth - parseFloat(getComputedStyle(cell).paddingRight);
  return [said.height < 1.5 * parseFloat(getComputedStyle(cell).lineHeight), said.width <= inside];
}"""
COUNT_LINES = """cell => {
  const { height } = cell.lastElementChild.getBoundingClientRect();
  return Math.round(height / parseFloat(getComputedStyle(cell.lastElementChild).lineHeight));
}"""


@pytest.mark.parametrize("width", [1440, 1024, 360])
def test_an_outcome_is_one_line_and_fits_its_column(plan_page, width):
    page = plan_page(viewport={"width": width, "height": 900})
    cell = page.locator("#task-instances td.outcome").first
    for order in ("run", "task"):
        if order == "task":
            page.goto(f"{page.url}?sort=task")
        for label in OUTCOME_LABELS.values():
            page.evaluate(WRITE_OUTCOME, [label, REASON_WORDS[OutcomeReason.EITHER_RULE]])
            assert cell.evaluate(MEASURE_OUTCOME) == [True, True], (order, label)
        assert sideways(page) == 0


@pytest.mark.parametrize("width", [1440, 1024])
def test_the_reason_of_an_outcome_is_a_few_lines(plan_page, width):
    page = plan_page(viewport={"width": width, "height": 900})
    cell = page.locator("#task-instances td.outcome").first
    lines = {}
    for reason, words in REASON_WORDS.items():
        page.evaluate(WRITE_OUTCOME, ["Never starts", words])
        lines[reason] = cell.evaluate(COUNT_LINES)
    assert lines[OutcomeReason.UPSTREAM_MISSING] == 2
    assert max(lines.values()) <= 3, lines


def test_the_file_is_downloaded_from_within_airflows_frame(prefixed_server, open_page):
    page = open_page(prefixed_server)
    frame = open_tab(prefixed_server, page, "/dags/e2e_orders")
    preview(frame, task_regex="^extract$", **DAYS)
    with page.expect_download() as download:
        frame.get_by_role("link", name="CSV").click()
    assert re.fullmatch(r"safe-clear-[0-9a-f]{32}\.csv", download.value.suggested_filename)
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("dag_id,run_id,")
    assert len(text.splitlines()) == 3


def test_the_first_link_skips_to_the_next_step(plan_page):
    page = plan_page()
    skip = page.get_by_role("link", name="Skip to the next step")
    assert page.evaluate("document.querySelector('a, button, input, summary').matches('.skip')")
    skip.focus()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.plan-dock') !== null")


def test_the_head_of_the_grid_stays_in_sight(plan_page):
    page = plan_page(viewport={"width": 1280, "height": 640})
    expect(page.locator(".grid-scroll.fits")).to_be_visible()
    page.locator(".grid tbody tr").last.evaluate(
        "row => window.scrollTo(0, window.scrollY + row.getBoundingClientRect().top - 120)"
    )
    assert page.evaluate("document.querySelector('.grid').getBoundingClientRect().top") < 0
    expect(page.locator(".grid thead")).to_be_in_viewport(ratio=1)
