"""With the colours of the system in place of the page's own, as in Windows' high contrast."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.frames import address

FORM = "select?dag_id=e2e_orders&date_from=2026-03-01&date_to=2026-03-05&task_regex=extract"


def colour(found, name: str, part: str | None = None) -> str:
    """Return a computed colour of an element, or of its ``::before``."""
    return str(found.evaluate(f"(one, part) => getComputedStyle(one, part).{name}", part))


@pytest.fixture
def page(prefixed_server, open_page):
    """The form, in forced colours."""
    page = open_page(prefixed_server, forced_colors="active")
    page.goto(address(prefixed_server, FORM))
    return page


def test_only_the_current_page_is_underlined(page):
    links = page.get_by_role("navigation", name="Safe Clear").get_by_role("link")
    [current] = [link for link in links.all() if link.get_attribute("aria-current")]
    others = {colour(link, "borderBottomColor") for link in links.all()} - {
        colour(current, "borderBottomColor")
    }
    assert others == {colour(page.locator("body"), "backgroundColor")}


def test_the_next_step_stands_out_and_a_switch_shows_its_knob(page):
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1, name="Clear")).to_be_visible()
    knob = page.locator(".switch .knob").first
    assert colour(knob, "backgroundColor", "::before") != colour(knob, "backgroundColor")
    for box in page.locator("input[name=acknowledge]:visible").all():
        box.check()
    step, change = page.locator(".plan-dock [data-primary]"), page.locator(".plan-dock [data-change]")
    expect(step).to_contain_text("Clear")
    assert colour(step, "backgroundColor") != colour(change, "backgroundColor")
