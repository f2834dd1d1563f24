"""The places of Safe Clear in Airflow's UI, and the pages that they open."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.frames import RUN_ID, Troubles, dag_path, open_tab, preview, the_frame

PLANS = {
    "dag run": (dag_path("e2e_orders", RUN_ID), "Clear 7 task instances in 1 run of e2e_orders"),
    "task instance": (
        dag_path("e2e_orders", RUN_ID, "/tasks/load.customers"),
        "Clear 5 task instances in 1 run of e2e_orders",
    ),
    "mapped task instance": (
        dag_path("e2e_orders", RUN_ID, "/tasks/verify/mapped/1"),
        "Clear 2 task instances in 1 run of e2e_orders",
    ),
}
FORMS = {
    "dag": (dag_path("e2e_orders"), ""),
    "task": (dag_path("e2e_orders", rest="/tasks/load.orders"), r"^load\.orders$"),
}
"""Without a recent failure there is nothing to preview at once."""


@pytest.fixture
def watched(airflow_server, open_page):
    """Give a page of admin; the test fails when the browser had to complain about our pages."""
    page = open_page(airflow_server)
    troubles = Troubles().watch(page)
    yield page
    assert troubles.found == []


@pytest.mark.parametrize("place", PLANS)
def test_tab_opens_the_plan(airflow_server, watched, place):
    path, headline = PLANS[place]
    frame = open_tab(airflow_server, watched, path)
    expect(frame.get_by_role("heading", level=1)).to_have_text(headline)
    expect(frame.get_by_role("checkbox", name="Downstream")).to_be_checked(checked=place != "dag run")


@pytest.mark.parametrize("place", FORMS)
def test_tab_opens_the_form_where_nothing_failed(airflow_server, watched, place):
    path, task_regex = FORMS[place]
    frame = open_tab(airflow_server, watched, path)
    expect(frame.get_by_text("No failure of")).to_be_visible()
    expect(frame.locator("[name=dag_id]")).to_have_value("e2e_orders")
    expect(frame.locator("[name=task_regex]")).to_have_value(task_regex)
    expect(frame.locator("[name=run_id]")).to_have_value("")


def test_under_browse_and_back_into_airflow(airflow_server, watched):
    watched.goto(airflow_server.url)
    watched.get_by_role("button", name="Browse").click()
    watched.get_by_role("menuitem", name="Safe Clear").click()
    frame = the_frame(watched)
    expect(frame.get_by_role("heading", level=1)).to_have_text("What failed")
    frame.get_by_role("link", name="Select in a Dag").click()
    expect(frame.locator("[name=dag_id]")).to_have_value("")
    preview(frame, dag_id="e2e_orders", task_regex="^extract$", date_from="2026-03-01", date_to="2026-03-02")


def test_troubles_are_noticed(airflow_server, open_page):
    page = open_page(airflow_server)
    troubles = Troubles().watch(page)
    frame = open_tab(airflow_server, page, dag_path("e2e_orders"))
    frame.locator("body").evaluate(
        "() => { document.body.append(Object.assign(new Image(), {src: 'data:,'})) }"
    )
    frame.locator("body").evaluate("() => fetch('no/such/page').then(() => console.error('mine'))")
    assert any("Content Security Policy" in trouble for trouble in troubles.found)
    assert any("HTTP 404" in trouble for trouble in troubles.found)
