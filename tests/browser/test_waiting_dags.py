"""From a plan to a change set of it and of the Dags that wait for it, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.frames import Troubles, address, look

DAGS = Path(__file__).parent / "waiting_dags"


@pytest.fixture(scope="module")
def server(make_airflow_server):
    """Start an api-server alone with Dags that wait for others."""
    server = make_airflow_server(dags=DAGS)
    server.prepare("tests.browser.prepare", "waiting")
    server.start(components=(), dag_ids=("orders",))
    return server


@pytest.fixture
def open_plan(server, open_page):
    """Return a function that opens the page of a new plan."""

    def open_plan(dag_id="orders", **options):
        body = {"dag_id": dag_id, "task_regex": "^load$", "run_id": ["run_0"]}
        answer = server.api("POST", "/pluginsv2/safe_clear/plans", json=body)
        page = open_page(server, **options)
        page.goto(address(server, f"plans/{answer.raise_for_status().json()['id']}"))
        return page

    return open_plan


def heading(page):
    return page.get_by_role("heading", level=1)


def include(page):
    page.get_by_role("button", name="that wait for this").click()
    expect(heading(page)).to_have_text("Dags that wait for this plan")


def test_a_plan_leads_to_a_set_with_all_waiting_dags(open_plan):
    page = open_plan()
    troubles = Troubles().watch(page)
    page.locator(".plan-dock #reason").fill("the rates were wrong")
    expect(page.get_by_role("button", name="Include the 4 Dags that wait for this")).to_be_visible()
    include(page)
    preview = page.locator('button[form="include"]')
    expect(preview).to_have_text("Preview 2 Dags")
    dashboard = page.get_by_label("Time of wait_for_the_report in orders_dashboard")
    dashboard.fill("0")
    # It waits for a Dag whose time is not entered yet.
    expect(preview).to_have_text("Preview 2 Dags")
    report = page.get_by_label("Time of wait_for_orders in orders_report")
    report.fill("an hour")
    expect(preview).to_have_text("Preview 4 Dags")
    page.keyboard.press("Enter")
    expect(page.locator("#wrong")).to_be_focused()
    page.locator("#wrong a").click()
    expect(report).to_be_focused()
    report.fill("1h")
    page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text("in 4 Dags")
    expect(page.get_by_label("Reason")).to_have_value("the rates were wrong")
    expect(page.locator(".left-out li")).to_have_count(1)
    expect(page.locator(".left-out li")).to_contain_text("orders_marketing")
    page.get_by_role("link", name="Enter other times").click()
    expect(heading(page)).to_have_text("Dags that wait for this plan")
    expect(report).to_have_value("1h")
    # The time that could not be read.
    assert [one for one in troubles.found if "422" not in one] == []


def test_back_leads_to_the_form_as_it_was(open_plan):
    page = open_plan()
    include(page)
    report = page.get_by_label("Time of wait_for_orders in orders_report")
    report.fill("1h")
    page.locator('button[form="include"]').click()
    expect(heading(page)).to_contain_text("in 3 Dags")
    page.go_back()
    expect(report).to_have_value("1h")
    expect(page.locator('button[form="include"]')).to_have_text("Preview 3 Dags")
    page.reload()
    expect(report).to_have_value("1h")
    page.go_back()
    expect(heading(page)).to_contain_text("Clear 1 task instance")


def test_unticked_rows_are_previewed_first(open_plan):
    page = open_plan()
    page.locator("#task-instances td.pick input[type=checkbox]").first.uncheck()
    page.get_by_role("button", name="that wait for this").click()
    expect(page.locator("[data-preview-trouble]")).to_have_text("Preview without the unticked rows first.")


def test_the_form_works_without_javascript(open_plan):
    page = open_plan(java_script_enabled=False)
    page.get_by_role("button", name="that wait for this").click()
    page.get_by_label("Time of wait_for_orders in orders_report").fill("1 h")
    page.locator('button[form="include"]').click()
    expect(heading(page)).to_contain_text("in 3 Dags")


def test_one_time_fills_two_hundred_sensors(open_plan):
    page = open_plan("wide", viewport={"width": 390, "height": 844})
    include(page)
    fields = page.locator('input[name="after"]')
    expect(fields).to_have_count(200)
    page.get_by_label("Time for all empty fields").fill("1h")
    expect(page.locator('button[form="include"]')).to_have_text("Preview 41 Dags")
    look(page, "waiting-200")
    page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text("in 41 Dags")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(server, open_plan, mode, width):
    page = open_plan(color_scheme=mode, viewport={"width": width, "height": 844})
    look(page, f"waiting-offer-{width}-{mode}")
    include(page)
    look(page, f"waiting-form-{width}-{mode}")
    page.get_by_label("Time of wait_for_orders in orders_report").fill("an hour")
    page.get_by_label("Time of wait_for_the_report in orders_dashboard").fill("same logical date")
    page.keyboard.press("Enter")
    expect(page.locator("#wrong")).to_be_focused()
    look(page, f"waiting-wrong-{width}-{mode}")
    page.get_by_label("Time of wait_for_orders in orders_report").fill("1h")
    page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text("in 4 Dags")
    look(page, f"waiting-set-{width}-{mode}")
    page.goto(address(server, "plans?drafts=true"))
    expect(page.locator("tbody tr", has_text="4 Dags").first).to_contain_text("change set")
    page.locator("tbody tr summary", has_text="orders_dashboard").first.click()
    look(page, f"waiting-history-{width}-{mode}")
