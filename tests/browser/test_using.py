"""With a keyboard alone, on a narrow screen, in the dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.frames import address, confirm_button, open_tab, preview, sideways

SELECTION = {"task_regex": "^extract$", "date_from": "2026-03-01", "date_to": "2026-03-02"}
MAX_STOPS = 60


def tab_to(page, target) -> None:
    """Press Tab until ``target`` has the focus."""
    for _ in range(MAX_STOPS):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{MAX_STOPS} times Tab do not lead to {target}")


def test_keyboard_alone(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "select"))
    for name, value in {"dag_id": "e2e_orders", **SELECTION}.items():
        tab_to(page, page.locator(f"[name={name}]"))
        page.keyboard.type(value)
    page.keyboard.press("Enter")

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Clear 2 task instances in 2 runs of e2e_orders")
    expect(heading).to_be_focused()
    for box in page.locator("input[name=acknowledge]").all():
        tab_to(page, box)
        page.keyboard.press("Space")
    tab_to(page, page.get_by_role("textbox", name="Reason"))
    page.keyboard.type("by keyboard")
    tab_to(page, confirm_button(page))
    page.keyboard.press("Enter")

    expect(page.get_by_text("Cleared as planned")).to_be_visible()
    expect(heading).to_have_text("Cleared 2 task instances in 2 runs of e2e_orders")
    expect(heading).to_be_focused()


def test_enter_on_the_plan_page_clears_nothing(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "?dag_id=e2e_changing"))
    preview(page, date_from="2026-03-01", date_to="2026-03-02")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Reason").press("Enter")
    page.reload()
    expect(confirm_button(page)).to_be_visible()
    expect(confirm_button(page)).not_to_be_focused()
    assert "POST" not in sent


def test_errors_have_the_focus(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "?dag_id=e2e_orders&task_regex=load(&date_from=2026-03-01"))
    page.locator("[name=task_regex]").press("Enter")
    summary = page.locator("#error-summary")
    expect(summary).to_be_focused()
    tab_to(page, summary.get_by_role("link", name="Task regex"))
    page.keyboard.press("Enter")
    expect(page.locator("[name=task_regex]")).to_be_focused()
    expect(page.locator("[name=task_regex]")).to_have_value("load(")


def test_narrow_screen(prefixed_server, open_page):
    page = open_page(prefixed_server, viewport={"width": 390, "height": 800})
    page.goto(address(prefixed_server, "?dag_id=e2e_orders"))
    assert sideways(page) == 0
    page.locator("details.more summary").click()
    assert sideways(page) == 0
    preview(page, date_from="2026-03-01", date_to="2026-03-05")
    assert sideways(page) == 0
    expect(confirm_button(page)).to_be_in_viewport()
    page.goto(address(prefixed_server, "?dag_id=no_such_dag"))
    assert sideways(page) == 0


def test_colour_mode_follows_airflow_at_once(prefixed_server, open_page):
    page = open_page(prefixed_server, color_scheme="light")
    frame = open_tab(prefixed_server, page, "/dags/e2e_orders")
    root, body = frame.locator("html"), frame.locator("body")
    expect(body).to_have_css("background-color", "rgb(255, 255, 255)")
    frame.locator("[name=task_regex]").fill("typed")

    for mode in ("dark", "light"):
        page.get_by_role("button", name="User").click()
        page.get_by_role("menuitem", name="Appearance").click()
        page.get_by_role("menuitemradio", name=f"{mode} mode").click()
        expect(root).to_have_class(mode)
        page.keyboard.press("Escape")
    expect(frame.locator("[name=task_regex]")).to_have_value("typed")


def test_colour_mode_by_itself(prefixed_server, open_page):
    page = open_page(prefixed_server, color_scheme="light")
    page.goto(address(prefixed_server))
    expect(page.locator("html")).to_have_class("light")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_class("dark")
    assert page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") != "rgb(255, 255, 255)"
    page.evaluate("localStorage.setItem('theme', 'light')")
    page.reload()
    expect(page.locator("html")).to_have_class("light")
