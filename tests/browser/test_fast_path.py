"""From a tab to a verified clear: the plan is there at once, its switches preview in place, and network
errors lose or confuse nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, dag_path, sideways

DAGS = Path(__file__).parent / "sales_dags"
TASK = "load.per_region"
US = 1
"""The map index that failed in the run; its label is ``us``."""


@pytest.fixture(scope="module")
def server(make_airflow_server):
    """Start an api-server alone, with its driver: cleared task instances stay as the clear leaves them."""
    server = make_airflow_server(dags=DAGS)
    server.prepare("tests.browser.prepare", "sales", str(datetime.now(timezone.utc).date()))
    server.start(components=(), dag_ids=("sales_etl",))
    return server


@pytest.fixture(scope="module")
def query(server):
    """Return a function that reads from the server's database."""
    engine = create_engine(server.sqlalchemy_url, isolation_level="AUTOCOMMIT")

    def read(statement: str, **values: object) -> list[tuple]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    yield read
    engine.dispose()


@pytest.fixture(autouse=True)
def _failed_anew(server):
    """Put the task instances back into the states that they failed with, and forget all plans."""
    engine = create_engine(server.sqlalchemy_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM safe_clear_plan WHERE status = 'ready'"))
    engine.dispose()


@pytest.fixture(scope="module")
def run_id(query):
    """Return the latest run in which the mapped task instance failed."""
    found = query(
        "SELECT run_id FROM task_instance WHERE task_id = :task AND map_index = :index AND state = 'failed'"
        " ORDER BY run_id DESC LIMIT 1",
        task=TASK,
        index=US,
    )
    return found[0][0]


@pytest.fixture
def tab(server, open_page, run_id):
    """Return a function that opens the tab's page outside Airflow's UI, and waits for its plan."""

    def show(*, wait: bool = True, page=None, **options):
        place = {"dag_id": "sales_etl", "run_id": run_id, "task_id": TASK, "map_index": US}
        place |= options.pop("place", {})
        page = page or open_page(server, **options)
        page.goto(address(server, f"tab?{urlencode({k: v for k, v in place.items() if v is not None})}"))
        if wait:
            expect(primary(page)).to_be_visible()
        return page

    return show


def primary(page):
    return page.locator("[data-primary]")


def switch(page, name: str):
    return page.get_by_role("checkbox", name=name, exact=True)


def headline(page):
    return page.get_by_role("heading", level=1)


def clears(count: int) -> re.Pattern[str]:
    return re.compile(rf"^Clear {count} task instances? in ")


def trouble(page):
    return page.locator("[data-preview-trouble]")


class Clicks:
    """Counts the presses of a person."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, target) -> None:
        target.click()
        self.count += 1


def test_a_failed_mapped_task_instance_is_cleared_in_two_clicks(server, open_page, query, run_id):
    page = open_page(server)
    troubles = Troubles().watch(page)
    page.goto(f"{server.url}{dag_path('sales_etl', run_id, f'/tasks/{TASK}/mapped/{US}')}")
    click = Clicks()
    click(page.get_by_role("link", name="Safe Clear"))
    frame = page.frame_locator("iframe")
    expect(headline(frame)).to_have_text("Clear 3 task instances in 1 run of sales_etl")
    expect(switch(frame, "Downstream")).to_be_checked()
    expect(frame.locator("#task-instances tbody .task")).to_have_text(
        [f"{TASK} [1] us", "load.publish", "report.daily"]
    )
    expect(primary(frame)).to_have_text("Clear 3 task instances")
    click(primary(frame))
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()
    assert click.count == 2
    cleared = query(
        "SELECT task_id, map_index FROM task_instance WHERE run_id = :run AND state IS NULL ORDER BY 1",
        run=run_id,
    )
    assert cleared == [(TASK, US), ("load.publish", -1), ("report.daily", -1)]
    assert troubles.found == []
    # As it was, for the other tests.
    plan_id = next(one.url for one in page.frames if "/plans/" in one.url).rsplit("/", 1)[1]
    server.api("POST", f"/pluginsv2/safe_clear/plans/{plan_id}/undo", json={}).raise_for_status()
    server.wait_until(
        lambda: not query("SELECT 1 FROM task_instance WHERE run_id = :run AND state IS NULL", run=run_id),
        "the clear is undone",
    )


def test_a_switch_previews_in_place(tab, query):
    page = tab()
    troubles = Troubles().watch(page)
    page.evaluate("window.isStillThis = true")
    page.get_by_role("textbox", name="Reason").fill("late ledger")
    page.locator("#task-instances").scroll_into_view_if_needed()
    for name, count in (("Downstream", 1), ("Upstream", 5), ("Only failed", 1), ("Only failed", 5)):
        switch(page, name).click()
        expect(headline(page)).to_have_text(clears(count))
        expect(switch(page, name)).to_be_focused()
        expect(page.get_by_role("textbox", name="Reason")).to_have_value("late ledger")
        assert page.evaluate("window.isStillThis") is True
        assert "/plans/" in page.url
        expect(page).to_have_title(re.compile("^Clear"))
    # A replaced draft is removed; others never see it.
    expect_plans(page, query, 1)
    page.reload()
    expect(headline(page)).to_have_text(clears(5))
    expect(switch(page, "Upstream")).to_be_checked()
    assert troubles.found == []


def expect_plans(page, query, count: int) -> None:
    for _ in range(40):
        found = query("SELECT count(*) FROM safe_clear_plan WHERE status = 'ready'")[0][0]
        if found == count:
            return
        page.wait_for_timeout(250)
    assert found == count


def test_opened_again_it_leaves_one_draft(tab, query):
    page = tab()
    for _ in range(2):
        tab(page=page)
    expect_plans(page, query, 1)


def test_a_draft_that_another_tab_shows_stays(tab, query):
    page = tab()
    kept = page.evaluate("sessionStorage.getItem('safe-clear:drafts')")
    other = page.context.new_page()
    other.goto(page.url)
    other.evaluate("kept => sessionStorage.setItem('safe-clear:drafts', kept)", kept)  # as a duplicate has it
    switch(other, "Downstream").click()
    expect(headline(other)).to_have_text(clears(1))
    tab(page=other)
    other.wait_for_timeout(1_000)
    assert page.reload().status == 200
    expect(headline(page)).to_have_text(clears(3))
    expect_plans(page, query, 2)
    # Once no page shows it any more, it is removed.
    other.close()
    switch(page, "Downstream").click()
    expect(headline(page)).to_have_text(clears(1))
    expect_plans(page, query, 2)


def test_a_draft_whose_link_was_copied_stays(tab, query):
    page = tab()
    page.get_by_role("button", name="Copy link").click()
    switch(page, "Downstream").click()
    expect(headline(page)).to_have_text(clears(1))
    page.wait_for_timeout(1_000)
    expect_plans(page, query, 2)


def test_a_draft_from_the_form_stays_when_a_switch_replaces_it(server, open_page, query, run_id):
    page = open_page(server)
    page.goto(address(server, f"select?{urlencode({'dag_id': 'sales_etl', 'run_id': run_id})}"))
    page.get_by_role("button", name="Preview").click()
    expect(primary(page)).to_be_visible()
    switch(page, "Only failed").click()
    expect(headline(page)).to_have_text(clears(3))
    page.wait_for_timeout(1_000)
    expect_plans(page, query, 2)


def test_a_late_answer_never_replaces_a_later_one(tab, query):
    page = tab()
    held = []

    def hold(route) -> None:
        held.append(route)

    page.route("**/previews", hold, times=1)
    switch(page, "Upstream").click()
    expect(primary(page)).to_have_text("Previewing…")
    switch(page, "Downstream").click()
    expect(headline(page)).to_have_text(clears(5))
    expect(primary(page)).not_to_have_text("Previewing…")
    with page.expect_response(re.compile("/discard$")):
        held.pop().continue_()
    expect(headline(page)).to_have_text(clears(5))
    expect_plans(page, query, 1)


def test_a_slow_preview_dims_the_plan_and_clears_nothing(tab):
    page = tab()
    held = []

    def hold(route) -> None:
        held.append(route)

    page.route("**/previews", hold, times=1)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    switch(page, "Downstream").click()
    expect(primary(page)).to_have_attribute("aria-disabled", "true")
    expect(primary(page)).to_have_text("Previewing…")
    expect(headline(page)).to_have_text(clears(3))
    expect(page.locator("#task-instances")).to_have_css("opacity", "0.5")
    # Rows can't be unticked now: no plan would leave them out.
    page.locator("[name=keep_row]").first.click(force=True)
    expect(page.locator("[name=keep_row]").first).to_be_checked()
    primary(page).dispatch_event("click")
    page.keyboard.press("Control+Enter")
    assert not [url for url in sent if url.endswith("/apply")]
    expect(trouble(page)).to_contain_text("The server is slow to answer")
    held.pop().continue_()
    expect(headline(page)).to_have_text(clears(1))
    expect(trouble(page)).to_be_hidden()
    expect(primary(page)).to_have_text("Clear 1 task instance")


@pytest.mark.parametrize("failure", ["lost", "unreachable", "logged out", "error"])
def test_when_a_preview_fails_the_plan_stays_and_it_can_be_tried_again(tab, failure):
    page = tab()
    words = {
        "logged out": "You are logged out",
        "error": "The preview failed (HTTP 500)",
    }.get(failure, "No answer from the server")

    def fail(route) -> None:
        if failure == "lost":
            route.fetch()  # the server has made the plan, but the answer is lost
        if failure in ("lost", "unreachable"):
            route.abort()
        else:
            route.fulfill(
                status=401 if failure == "logged out" else 500, body="<html>", content_type="text/html"
            )

    page.route("**/previews", fail, times=1)
    switch(page, "Downstream").click()
    expect(trouble(page)).to_contain_text(words)
    expect(headline(page)).to_have_text(clears(3))
    expect(switch(page, "Downstream")).to_be_checked()
    expect(primary(page)).to_have_text("Clear 3 task instances")
    trouble(page).get_by_role("button", name="Try again").click()
    expect(headline(page)).to_have_text(clears(1))
    expect(switch(page, "Downstream")).not_to_be_checked()


def test_the_tab_itself_can_be_tried_again(tab):
    page = tab(wait=False, page=None, place={})
    page.route("**/previews", lambda route: route.abort(), times=1)
    page.reload()
    expect(trouble(page)).to_contain_text("No answer from the server")
    trouble(page).get_by_role("button", name="Try again").click()
    expect(headline(page)).to_have_text(clears(3))


def test_a_switch_that_selects_nothing_says_so_and_the_plan_stays(tab):
    page = tab(place={"map_index": 0})
    expect(headline(page)).to_have_text(clears(3))
    switch(page, "Downstream").click()
    expect(headline(page)).to_have_text(clears(1))
    switch(page, "Only failed").click()
    expect(trouble(page)).to_contain_text("Failed")
    expect(switch(page, "Only failed")).not_to_be_checked()
    expect(headline(page)).to_have_text(clears(1))
    expect(primary(page)).to_have_attribute("aria-disabled", "false")


def test_a_tab_whose_plan_is_refused_leads_on(server, open_page, query, run_id):
    page = open_page(server)
    page.goto(
        address(server, f"tab?{urlencode({'dag_id': 'sales_etl', 'run_id': run_id, 'task_id': 'gone'})}")
    )
    expect(page.get_by_text("No plan – nothing was cleared")).to_be_visible()
    expect(headline(page)).to_contain_text("gone")
    expect(headline(page)).to_be_focused()
    assert Axe().run(page).violations_count == 0
    page.get_by_role("link", name="Edit selection").click()
    expect(page.locator("[name=task_regex]")).to_have_value("^gone$")
    expect(page.locator("[name=run_id]")).to_have_value(run_id)


def test_edit_selection_and_back(tab, run_id):
    page = tab()
    switch(page, "Past").click()
    expect(headline(page)).not_to_have_text(clears(3))
    shown = headline(page).inner_text()
    page.get_by_role("link", name="Edit selection").click()
    expect(page.locator("[name=run_id]")).to_have_value(run_id)
    expect(page.locator("[name=map_index]")).to_have_value(str(US))
    expect(page.get_by_label("Past runs")).to_be_checked()
    expect(page.get_by_label("Downstream")).to_be_checked()
    page.go_back()
    expect(headline(page)).to_have_text(shown)
    expect(switch(page, "Past")).to_be_checked()
    page.go_forward()
    expect(page.get_by_label("Past runs")).to_be_checked()


def test_what_is_unticked_is_the_next_step(tab):
    page = tab()
    page.evaluate("window.isStillThis = true")
    page.locator("[name=keep_row]").first.uncheck()
    expect(primary(page)).to_have_text("Preview without 1")
    primary(page).click()
    expect(headline(page)).to_have_text(clears(2))
    expect(primary(page)).to_have_text("Clear 2 task instances")
    assert page.evaluate("window.isStillThis") is True
    # The switches keep the exclusions.
    switch(page, "Downstream").click()
    expect(trouble(page)).not_to_be_empty()
    expect(headline(page)).to_have_text(clears(2))


def test_what_is_unticked_stays_out_when_a_switch_is_turned(tab):
    page = tab()
    page.locator("#task-instances tr", has_text="report.daily").locator("[name=keep_row]").uncheck()
    switch(page, "Upstream").click()
    expect(headline(page)).to_have_text(clears(6))
    expect(page.locator("#task-instances .task", has_text="report.daily")).to_have_count(0)
    expect(primary(page)).to_have_text("Acknowledge 1")


def test_the_chosen_waves_go_over_to_the_next_plan(tab):
    page = tab()
    page.get_by_text("How fast:").click()
    page.get_by_label("First runs").fill("1")
    page.get_by_label("Then", exact=True).select_option("go_on")
    page.locator("[name=keep_row]").first.uncheck()
    expect(primary(page)).to_have_text("Preview without 1")
    primary(page).click()
    expect(headline(page)).to_have_text(clears(2))
    expect(page.locator("[data-pace-text]")).to_have_text("In waves, as below")
    sent = page.evaluate("[...new FormData(document.getElementById('confirm'))]")
    assert ["waves.first_runs", "1"] in sent
    assert ["waves.then", "go_on"] in sent


def test_ctrl_enter_in_another_form_presses_nothing(tab):
    page = tab()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.locator("#filter-task").press("Control+Enter")
    page.wait_for_timeout(500)
    assert "POST" not in sent
    expect(primary(page)).to_have_text("Clear 3 task instances")


def test_ctrl_enter_presses_the_next_step(tab):
    page = tab()
    switch(page, "Upstream").click()
    box = page.locator("input[name=acknowledge]").first
    expect(primary(page)).to_have_text("Acknowledge 1")
    page.keyboard.press("Control+Enter")
    expect(box).to_be_focused()
    page.keyboard.press("Space")
    expect(primary(page)).to_have_text("Clear 7 task instances")
    sent: list[str] = []
    page.route("**/apply", lambda route: (sent.append(route.request.url), route.abort()))
    page.route("**/progress.json", lambda route: route.fulfill(status=404, json={}))
    page.keyboard.press("Control+Enter")
    expect(page.locator(".plan-dock .trouble")).to_be_visible()
    assert len(sent) == 1


def test_on_a_small_screen_the_next_step_unfolds(tab):
    page = tab(viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert sideways(page) == 0
    expect(primary(page)).to_be_in_viewport()
    expect(page.get_by_role("textbox", name="Reason")).to_be_hidden()
    assert page.locator(".plan-dock").bounding_box()["height"] < 160
    switch(page, "Upstream").click()
    expect(primary(page)).to_have_text("Acknowledge 1")
    primary(page).click()
    box = page.locator("input[name=acknowledge]").first
    expect(box).to_be_focused()
    assert Axe().run(page).violations_count == 0
    box.check()
    expect(primary(page)).to_have_text("Clear 7 task instances")
    expect(page.get_by_role("textbox", name="Reason")).to_be_visible()
    assert sideways(page) == 0


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_nothing_for_axe_to_find(tab, color_scheme):
    page = tab(color_scheme=color_scheme)
    assert Axe().run(page).violations_count == 0
    switch(page, "Upstream").click()
    expect(primary(page)).to_have_text("Acknowledge 1")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_without_a_script(tab):
    page = tab(wait=False, java_script_enabled=False)
    page.get_by_role("button", name="Preview").click()
    expect(headline(page)).to_have_text(clears(3))
    switch(page, "Downstream").uncheck()
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(headline(page)).to_have_text(clears(1))
    switch(page, "Only failed").check()
    switch(page, "Upstream").check()
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(headline(page)).to_have_text(clears(1))
    expect(switch(page, "Only failed")).to_be_checked()
