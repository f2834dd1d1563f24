"""Where Safe Clear stands in Airflow's UI, and what is filled in there."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.frames import RUN_ID, Troubles, dag_path, open_tab, preview, the_frame

PLACES = {
    "dag": (dag_path("e2e_orders"), {"run_id": "", "task_regex": "", "map_index": ""}),
    "dag run": (dag_path("e2e_orders", RUN_ID), {"run_id": RUN_ID, "task_regex": "", "map_index": ""}),
    "task": (
        dag_path("e2e_orders", rest="/tasks/load.orders"),
        {"run_id": "", "task_regex": r"^load\.orders$", "map_index": ""},
    ),
    "task instance": (
        dag_path("e2e_orders", RUN_ID, "/tasks/extract"),
        {"run_id": RUN_ID, "task_regex": "^extract$", "map_index": ""},
    ),
    "mapped task instance": (
        dag_path("e2e_orders", RUN_ID, "/tasks/verify/mapped/1"),
        {"run_id": RUN_ID, "task_regex": "^verify$", "map_index": "1"},
    ),
}


@pytest.fixture
def watched(airflow_server, open_page):
    """Give a page of admin; the test fails when the browser had to complain about our pages."""
    page = open_page(airflow_server)
    troubles = Troubles().watch(page)
    yield page
    assert troubles.found == []


@pytest.mark.parametrize("place", PLACES)
def test_tab_is_filled_in(airflow_server, watched, place):
    path, filled_in = PLACES[place]
    frame = open_tab(airflow_server, watched, path)
    expect(frame.locator("[name=dag_id]")).to_have_value("e2e_orders")
    for name, value in filled_in.items():
        expect(frame.locator(f"[name={name}]")).to_have_value(value)


def test_under_browse_and_back_into_airflow(airflow_server, watched):
    watched.goto(airflow_server.url)
    watched.get_by_role("button", name="Browse").click()
    watched.get_by_role("menuitem", name="Safe Clear").click()
    frame = the_frame(watched)
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
