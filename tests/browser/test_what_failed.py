"""The start page: from everything that failed in a night to a plan of it, with the clicks counted."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, looks, sideways

NIGHT = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
MINUTE = timedelta(minutes=1)
CLICKS = """
    window.addEventListener("click", event => {
        if (event.isTrusted) sessionStorage.setItem("clicks", 1 + Number(sessionStorage.getItem("clicks")));
    }, true);
"""


@pytest.fixture(autouse=True)
def night(prefixed_server):
    """Two runs of one DAG and one of another failed; nothing runs on this server."""
    engine = create_engine(prefixed_server.sqlalchemy_url)

    def put(state: str, ended_at: datetime | None, where: str) -> None:
        with engine.begin() as connection:
            statement = f"UPDATE task_instance SET state = :state, end_date = :at WHERE {where}"
            assert connection.execute(text(statement), {"state": state, "at": ended_at}).rowcount

    before = f"dag_id IN ('e2e_orders', 'e2e_team_b') AND '{NIGHT.isoformat()}' > '2026-03-01'"
    runs = "run_id IN ('scheduled__2026-03-01T00:00:00+00:00', 'scheduled__2026-03-02T00:00:00+00:00')"
    put("failed", NIGHT, f"dag_id = 'e2e_orders' AND {runs} AND task_id = 'load.orders'")
    put("upstream_failed", NIGHT + MINUTE, f"dag_id = 'e2e_orders' AND {runs} AND task_id = 'load.customers'")
    put("failed", NIGHT + 2 * MINUTE, "dag_id = 'e2e_team_b'")
    yield
    put("success", NIGHT - timedelta(days=200), before)
    engine.dispose()


def clock(moment: datetime) -> str:
    return f"{moment:%H:%M}"


def clicks(page) -> int:
    return page.evaluate("Number(sessionStorage.getItem('clicks'))")


def test_from_the_night_to_a_plan_in_two_clicks(prefixed_server, open_page):
    page = open_page(prefixed_server, timezone_id="UTC")
    troubles = Troubles().watch(page)
    page.add_init_script(CLICKS)
    page.goto(address(prefixed_server))
    expect(page.get_by_role("heading", level=1)).to_have_text("What failed")
    page.get_by_label("Failed from").fill(clock(NIGHT - MINUTE))
    page.get_by_label("To", exact=True).fill(clock(NIGHT + 5 * MINUTE))
    page.get_by_role("button", name="Show").click()
    row = page.get_by_role("row", name="e2e_orders")
    expect(row).to_contain_text("2 Failed")
    expect(row).to_contain_text("2 Upstream Failed")
    expect(row).to_contain_text("in 2 runs")
    expect(row).to_contain_text("load.orders")
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("button", name="Preview e2e_orders").click()
    # Of each run: orders, customers, three of verify and report.
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Clear 12 task instances in 2 runs of e2e_orders"
    )
    assert clicks(page) == 2
    assert troubles.found == []


def test_what_failed_in_the_last_day_is_there_at_once(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.add_init_script(CLICKS)
    page.goto(address(prefixed_server))
    page.get_by_role("button", name="Preview e2e_orders").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("in 2 runs of e2e_orders")
    assert clicks(page) == 1


def test_times_are_typed_in_the_readers_own_zone(prefixed_server, open_page):
    page = open_page(prefixed_server, timezone_id="Asia/Tokyo")
    page.goto(address(prefixed_server))
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")
    tokyo = timedelta(hours=9)
    page.get_by_label("Failed from").fill(clock(NIGHT + tokyo - MINUTE))
    page.get_by_label("To", exact=True).fill(clock(NIGHT + tokyo + 5 * MINUTE))
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Asia/Tokyo (")
    row = page.get_by_role("row", name="e2e_orders")
    expect(row.locator("time")).to_have_text(clock(NIGHT + tokyo))
    page.get_by_role("link", name="Last 12 hours").click()
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")


def test_back_keeps_the_window(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "failed?from=-12h&dag_id_regex=orders"))
    page.get_by_role("button", name="Preview e2e_orders").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear ")
    page.go_back()
    expect(page.get_by_label("Failed from")).to_have_value("-12h")
    expect(page.get_by_label("Dag id")).to_have_value("orders")
    page.get_by_role("button", name="Preview e2e_orders").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clear ")


def test_without_javascript(prefixed_server, open_page):
    page = open_page(prefixed_server, java_script_enabled=False)
    page.goto(address(prefixed_server, "failed?from=-12h"))
    page.get_by_role("button", name="Preview e2e_team_b").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("of e2e_team_b")


def test_a_viewer_sees_what_failed_without_a_button(prefixed_server, open_page):
    page = open_page(prefixed_server, "viewer")
    page.goto(address(prefixed_server, "failed"))
    expect(page.get_by_role("row", name="e2e_orders")).to_be_visible()
    expect(page.get_by_role("button", name="Preview")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("you can’t clear their task instances")


def test_keyboard_alone(prefixed_server, open_page):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "failed?dag_id_regex=orders"))
    table = page.get_by_role("table")
    for _ in range(40):
        page.keyboard.press("Tab")
        if table.evaluate("table => table.contains(document.activeElement)"):
            break
    # The table is one stop; the arrow keys move within it.
    assert page.evaluate("document.activeElement.name") == "dag_ids"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        if page.evaluate("document.activeElement.textContent").strip().startswith("Preview"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("of e2e_orders")


@pytest.mark.parametrize(("mode", "width"), looks())
@pytest.mark.parametrize(
    "query", ["", "failed?dag_id_regex=nothing", "failed?from=x&timezone=y"], ids=["some", "none", "wrong"]
)
def test_axe_finds_nothing(prefixed_server, open_page, mode, width, query):
    page = open_page(prefixed_server, color_scheme=mode, viewport={"width": width, "height": 900})
    page.goto(address(prefixed_server, query))
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert sideways(page) == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
