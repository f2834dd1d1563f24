"""What is left to do before a plan can be confirmed, as the bar says it, and a second person who approves."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DAG_IDS, HISTORY
from tests.browser.frames import Troubles, address, confirm_button, preview

DAG = "e2e_orders"
SELECTION = {"task_regex": "^extract$", "date_from": "2026-03-01", "date_to": "2026-03-03"}


@pytest.fixture(scope="module")
def server(make_airflow_server, history):
    """Start an api-server alone that asks for a reason, the DAG id, and above two a second person."""
    server = make_airflow_server(
        template=HISTORY,
        AIRFLOW__SAFE_CLEAR__CONFIRM_ABOVE="1",
        AIRFLOW__SAFE_CLEAR__REQUIRE_REASON="True",
        AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE="2",
    )
    server.start(components=(), dag_ids=DAG_IDS)
    return server


def plan_page(server, page, **selection: str) -> None:
    page.goto(address(server, f"?dag_id={DAG}"))
    preview(page, **{**SELECTION, **selection})


def left(page):
    return page.locator("[data-left]")


def test_each_press_leads_to_the_first_thing_missing(server, open_page):
    page = open_page(server)
    troubles = Troubles().watch(page)
    plan_page(server, page, date_to="2026-03-02")
    button, boxes = confirm_button(page), page.locator("input[name=acknowledge]")
    expect(boxes.first).to_be_visible()
    many = boxes.count()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))

    def press() -> None:
        button.focus()
        page.keyboard.press("Enter")

    expect(button).to_have_text(f"Acknowledge {many}")
    expect(left(page)).to_have_text(
        f"Acknowledge {many} finding{'' if many == 1 else 's'} · Enter a reason · Type the Dag id"
    )
    press()
    expect(boxes.first).to_be_focused()
    for number in range(many):
        boxes.nth(number).press("Space")
    expect(left(page)).to_have_text("Enter a reason · Type the Dag id")
    expect(button).to_have_text("Give a reason")
    press()
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("  ")
    expect(left(page)).to_have_text("Enter a reason · Type the Dag id")
    page.keyboard.type("bad rates")
    press()
    typed = page.locator("#confirm_dag_id")
    expect(typed).to_be_focused()
    page.keyboard.type(DAG[:-1])
    page.keyboard.press("Enter")
    expect(left(page)).to_have_text("Type the Dag id")
    expect(typed).to_be_focused()
    assert "POST" not in sent
    page.keyboard.type(DAG[-1])
    expect(left(page)).to_have_text("")
    expect(button).to_have_text("Clear 2 task instances")
    boxes.first.press("Space")
    expect(button).to_have_text("Acknowledge 1")
    boxes.first.press("Space")
    press()
    expect(page.get_by_role("heading", name="Acknowledged", exact=True)).to_be_visible()
    assert sent.count("POST") == 1
    assert troubles.found == []


def test_without_javascript_the_server_says_what_is_missing(server, open_page):
    page = open_page(server, java_script_enabled=False)
    plan_page(server, page, date_from="2026-03-02", date_to="2026-03-03")
    page.locator("input[name=acknowledge]").first.check()
    page.locator("#confirm_dag_id").fill("e2e")
    confirm_button(page).click()
    summary = page.locator("#missing")
    expect(summary).to_contain_text("Nothing was done")
    expect(summary.get_by_role("link", name="A reason is required.")).to_have_attribute("href", "#reason")
    expect(page.locator("#confirm_dag_id")).to_have_value("e2e")
    expect(page.locator("input[name=acknowledge]").first).to_be_checked()


def test_a_second_person_is_asked_and_clears(server, open_page):
    page = open_page(server)
    plan_page(server, page)
    ask = page.get_by_role("button", name="Request approval")
    expect(ask).to_have_count(0)
    expect(confirm_button(page)).to_have_text("Give a reason")
    expect(page.get_by_text("for the approver").first).to_be_visible()
    page.locator("#reason").fill("reload after the schema change")
    ask.click()
    sent_on = page.get_by_label("Share this link with a second person").input_value()
    assert sent_on == page.url

    other = open_page(server, user="operator")
    other.goto(sent_on)
    expect(other.get_by_text("reload after the schema change")).to_be_visible()
    for box in other.locator("input[name=acknowledge]").all():
        box.check()
    other.locator("#confirm_dag_id").fill(DAG)
    confirm_button(other).click()
    expect(other.get_by_role("heading", level=1)).to_have_text(
        "Cleared 3 task instances in 3 runs of e2e_orders"
    )
    expect(other.get_by_text("requested by")).to_be_visible()
