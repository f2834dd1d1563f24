"""Airflow behind a path, and Airflow with SimpleAuthManager."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import RUN_ID, Troubles, address, confirm, dag_path, open_tab, preview, the_frame

SELECTION = {"task_regex": "^extract$", "date_from": "2026-03-02", "date_to": "2026-03-02"}


def test_behind_a_path(prefixed_server, open_page):
    page = open_page(prefixed_server)
    troubles = Troubles().watch(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    frame = open_tab(prefixed_server, page, "/dags/e2e_orders")
    preview(frame, **SELECTION)
    confirm(frame)
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()
    run_link = frame.locator(".run-links a")
    expect(run_link).to_have_attribute("href", prefixed_server.url + dag_path("e2e_orders", RUN_ID))

    ours = [url for url in asked if "/safe_clear/" in url]
    assert [url for url in ours if not url.startswith(f"{prefixed_server.url}/pluginsv2/")] == []
    assert any(url.endswith("/plan.css") for url in ours)
    expect(frame.locator(".btn").first).to_have_css("border-radius", "4px")

    run_link.click()
    expect(page).to_have_url(prefixed_server.url + dag_path("e2e_orders", RUN_ID))
    expect(page.get_by_role("link", name="Safe Clear")).to_be_visible()
    assert troubles.found == []


def test_behind_a_path_by_itself(prefixed_server, open_page):
    page = open_page(prefixed_server)
    troubles = Troubles().watch(page)
    page.goto(address(prefixed_server, "?dag_id=e2e_changing"))
    preview(page, date_from="2026-03-01", date_to="2026-03-01")
    assert page.url.startswith(address(prefixed_server, "plans/"))
    page.get_by_role("link", name="Change").click()
    expect(page.locator("[name=dag_id]")).to_have_value("e2e_changing")
    assert troubles.found == []


def test_anonymous_behind_a_path(prefixed_server, page):
    here = address(prefixed_server, "?dag_id=e2e_orders")
    page.goto(here)
    expect(page).to_have_url(re.compile(f"^{re.escape(prefixed_server.url)}/auth/login"))
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill("admin")
    page.locator("input[name=password]").press("Enter")
    expect(page).to_have_url(here)
    expect(page.locator("[name=dag_id]")).to_have_value("e2e_orders")


def test_simple_auth_manager(simple_server, open_page):
    page = open_page(simple_server, "operator")
    troubles = Troubles().watch(page)
    frame = open_tab(simple_server, page, dag_path("e2e_orders", RUN_ID))
    frame.get_by_role("link", name="Edit selection").click()
    preview(frame, task_regex="^extract$")
    confirm(frame, "again")
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()
    assert troubles.found == []

    engine = create_engine(simple_server.sqlalchemy_url)
    with engine.connect() as connection:
        cleared = connection.execute(
            text("SELECT run_id, task_id FROM task_instance WHERE state IS NULL")
        ).all()
    engine.dispose()
    assert [tuple(row) for row in cleared] == [(RUN_ID, "extract")]


def test_viewer_under_simple_auth_manager(simple_server, open_page):
    page = open_page(simple_server, "viewer")
    page.goto(f"{simple_server.url}/plugin/safe_clear")
    expect(the_frame(page).locator("main")).to_contain_text("Clears and undos")
    page.goto(address(simple_server, "select"))
    expect(page.locator("main")).to_contain_text("You can’t clear any Dag")
    answer = page.goto(address(simple_server, "select?dag_id=e2e_orders"))
    assert answer.status == 403
