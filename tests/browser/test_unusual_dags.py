"""Dags that few have: many task groups, and a task that waits for a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, confirm, look, preview

DAGS = Path(__file__).parent / "unusual_dags"
GROUPS, AT_ONCE, RUNS = 16, 12, 2
OF_THE_RUN = "WHERE dag_id = 'approved' AND run_id = 'run_0'"
ASKS = (
    text(
        "UPDATE task_instance SET state = 'success', start_date = now(), end_date = now() "
        f"{OF_THE_RUN} AND task_id = 'extract'"
    ),
    text(
        "UPDATE task_instance SET state = 'awaiting_input', start_date = now() "
        f"{OF_THE_RUN} AND task_id = 'ask'"
    ),
    text(
        "UPDATE dag_run SET state = 'running', start_date = now(), "
        f"last_scheduling_decision = now() + interval '1 second' {OF_THE_RUN}"
    ),
)
"""The canary, once a worker has run the first task and a person is asked."""


@pytest.fixture(scope="module")
def server(make_airflow_server):
    """Start an api-server alone: what is cleared stands as a test says."""
    server = make_airflow_server(dags=DAGS)
    server.prepare("tests.browser.prepare", "unusual")
    server.start(components=(), dag_ids=("grouped", "approved"))
    return server


@pytest.fixture
def execute(server):
    """Return a function that commits statements on the server's database."""
    engine = create_engine(server.sqlalchemy_url)

    def execute(*statements) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    yield execute
    engine.dispose()


@pytest.fixture
def form(server, open_page):
    """Return a function that opens the form of the Dag with many groups, once its answers are there."""

    def show(**options):
        page = open_page(server, **options)
        page.goto(address(server, "select?dag_id=grouped&date_from=2026-03-01&date_to=2026-03-02"))
        bar = page.locator("[data-answer=bar]")
        expect(bar).to_have_text(f"{GROUPS * RUNS} task instances in {RUNS} runs")
        expect(bar).to_have_attribute("aria-busy", "false")
        return page

    return show


def groups(page):
    return page.get_by_role("group", name="Task groups")


def chip(page, number: int):
    return groups(page).get_by_role("button", name=f"source_{number:02}", exact=True)


def test_more_groups_are_folded_opened_and_chosen(form):
    page = form()
    troubles = Troubles().watch(page)
    more = groups(page).locator("summary")
    expect(more).to_have_text(f"+ {GROUPS - AT_ONCE} more groups")
    expect(chip(page, AT_ONCE)).to_be_visible()
    expect(chip(page, AT_ONCE + 1)).to_be_hidden()
    more.click()
    expect(chip(page, AT_ONCE + 1)).to_be_visible()
    chip(page, GROUPS).click()
    expect(page.locator("[name=task_regex]")).to_have_value(rf"^source_{GROUPS}\.")
    # The answer to the choice leaves the list open, and the focus where it was.
    expect(page.locator("[data-answer=bar]")).to_have_text(f"{RUNS} task instances in {RUNS} runs")
    expect(chip(page, GROUPS)).to_be_visible()
    expect(chip(page, GROUPS)).to_be_focused()
    more.click()
    expect(chip(page, GROUPS)).to_be_hidden()
    assert troubles.found == []


def test_more_groups_are_opened_by_keyboard_on_a_narrow_screen(form):
    page = form(viewport={"width": 360, "height": 740})
    more = groups(page).locator("summary")
    more.focus()
    page.keyboard.press("Enter")
    expect(chip(page, GROUPS)).to_be_visible()
    look(page, "more-groups-narrow")
    page.keyboard.press("Enter")
    expect(chip(page, GROUPS)).to_be_hidden()


def test_a_canary_that_waits_for_a_person_has_not_failed(server, open_page, execute):
    page = open_page(server, timezone_id="UTC")
    troubles = Troubles().watch(page)
    page.goto(address(server, "?dag_id=approved"))
    preview(page, date_from="2026-03-01", date_to="2026-03-02")
    expect(page.locator("#task-instances")).to_contain_text("Waits for a person")
    page.get_by_text("How fast:").click()
    page.get_by_label("First runs", exact=True).fill("1")
    confirm(page, "the rates were wrong")
    waves = page.get_by_role("region", name="Waves")
    runs = waves.get_by_role("list", name="Runs of this clear").get_by_role("listitem")
    expect(runs).to_have_text(["1 running again", "1 untouched"])
    execute(*ASKS)
    expect(runs).to_have_text(["1 waiting", "1 untouched"])
    expect(waves.get_by_role("status")).to_have_text(
        "The first run waits for a person, or for a start that will not come. Go on all the same?"
    )
    expect(page.locator("[data-tag]")).to_have_text("Waiting for a person")
    expect(waves.locator(".failed-runs")).to_have_count(0)
    expect(waves.get_by_role("button", name="without the failed runs")).to_have_count(0)
    look(page, "canary-awaits-input")
    waves.get_by_role("button", name="Go on", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Cleared 6 task instances in 2 runs")).to_be_visible()
    legend = page.locator("#progress .legend li")
    expect(legend.filter(has_text="Awaiting Input")).to_have_text("1 Awaiting Input")
    expect(legend.filter(has_text="Failed")).to_have_count(0)
    assert troubles.found == []
