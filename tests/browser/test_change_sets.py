"""The incident “everything that failed between two and four”: several Dags to one clear and one undo."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from tests.browser.frames import Troubles, address, look, the_frame

NIGHT = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
MINUTE = timedelta(minutes=1)
DAGS = "dag_id IN ('e2e_orders', 'e2e_changing', 'e2e_team_b')"
CLICKS = """
    window.addEventListener("click", event => {
        if (event.isTrusted) sessionStorage.setItem("clicks", 1 + Number(sessionStorage.getItem("clicks")));
    }, true);
"""


class Night:
    """Failures in the database of a server without a scheduler."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def put(self, state: str, ended_at: datetime, where: str) -> None:
        """Let some task instances end in a state."""
        with self._engine.begin() as connection:
            statement = f"UPDATE task_instance SET state = :state, end_date = :at WHERE {where}"
            assert connection.execute(text(statement), {"state": state, "at": ended_at}).rowcount

    def failed(self) -> None:
        """Let one run of each of three Dags fail in the night."""
        first = "run_id = 'scheduled__2026-03-01T00:00:00+00:00'"
        self.put("failed", NIGHT, f"dag_id = 'e2e_orders' AND {first} AND task_id = 'load.orders'")
        self.put("failed", NIGHT + MINUTE, f"dag_id = 'e2e_changing' AND {first}")
        self.put("failed", NIGHT + 2 * MINUTE, "dag_id = 'e2e_team_b'")

    def run(self, statement: str) -> None:
        """Run a statement that changes something."""
        with self._engine.begin() as connection:
            assert connection.execute(text(statement)).rowcount

    def is_over(self) -> None:
        """Set everything to a success long ago."""
        self.put("success", NIGHT - timedelta(days=200), DAGS)
        self._engine.dispose()

    def states(self) -> dict[str, set[str]]:
        """Return the states by Dag."""
        with self._engine.connect() as connection:
            rows = connection.execute(text(f"SELECT dag_id, state FROM task_instance WHERE {DAGS}"))
            found: dict[str, set[str]] = {}
            for dag_id, state in rows:
                found.setdefault(dag_id, set()).add(state)
        return found


@pytest.fixture
def night(prefixed_server):
    night = Night(prefixed_server.sqlalchemy_url)
    night.is_over()
    night.failed()
    yield night
    night.is_over()


def heading(page):
    return page.get_by_role("heading", level=1)


def clicks(page) -> int:
    return page.evaluate("Number(sessionStorage.getItem('clicks'))")


def acknowledge_all(page) -> None:
    for box in page.locator('input[name="acknowledge"]').all():
        box.check()


def tick_all_and_preview(page, server) -> None:
    page.goto(address(server, "failed?from=-12h"))
    page.get_by_label("Tick all on this page").check()
    page.get_by_role("button", name="Preview 3 Dags").click()
    expect(heading(page)).to_contain_text("in 3 Dags")


def test_everything_that_failed_in_the_night_is_cleared_and_undone(prefixed_server, open_page, night):
    page = open_page(prefixed_server, timezone_id="UTC")
    troubles = Troubles().watch(page)
    page.add_init_script(CLICKS)
    page.goto(address(prefixed_server))
    page.get_by_label("Failed from").fill(f"{NIGHT - MINUTE:%H:%M}")
    page.get_by_label("To", exact=True).fill(f"{NIGHT + 5 * MINUTE:%H:%M}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row")).to_have_count(4)
    page.get_by_label("Tick all on this page").check()
    page.get_by_role("button", name="Preview 3 Dags").click()
    expect(heading(page)).to_contain_text("Clear ")
    expect(heading(page)).to_contain_text("in 3 Dags")
    # Enter shows the window, and counts as a click; then tick all, and preview.
    assert clicks(page) == 3
    page.locator(".dock [data-primary]").click()
    expect(heading(page)).to_contain_text("Cleared ")
    assert clicks(page) == 4
    assert "failed" not in set().union(*night.states().values())
    page.get_by_role("link", name="Undo…", exact=True).click()
    expect(heading(page)).to_contain_text("Restore ")
    page.locator('button[form="confirm"]').click()
    expect(heading(page)).to_contain_text("were restored")
    assert clicks(page) == 6
    assert all("failed" in states for states in night.states().values())
    assert troubles.found == []


def test_ticks_survive_back_and_a_reload(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "failed?from=-12h"))
    expect(page.get_by_role("region", name="Preview the ticked Dags")).to_be_hidden()
    page.get_by_label("e2e_orders", exact=True).check()
    page.get_by_label("e2e_team_b", exact=True).check()
    page.get_by_role("button", name="Preview 2 Dags").click()
    expect(heading(page)).to_contain_text("in 2 Dags")
    page.go_back()
    expect(page.get_by_role("button", name="Preview 2 Dags")).to_be_visible()
    expect(page.get_by_label("e2e_changing", exact=True)).not_to_be_checked()
    page.reload()
    expect(page.get_by_label("e2e_orders", exact=True)).to_be_checked()
    page.goto(address(prefixed_server, "failed?from=-12h"))
    expect(page.get_by_label("e2e_orders", exact=True)).not_to_be_checked()


def test_ticks_survive_a_refused_preview(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "failed?from=-12h"))
    page.get_by_label("Tick all on this page").check()
    night.put("success", NIGHT, "dag_id = 'e2e_team_b'")
    page.get_by_role("button", name="Preview 3 Dags").click()
    expect(page.locator("#refused")).to_contain_text("e2e_team_b")
    expect(page.locator("#refused")).to_be_focused()
    expect(page.get_by_label("e2e_orders", exact=True)).to_be_checked()
    page.get_by_role("button", name="Preview without it").click()
    expect(heading(page)).to_contain_text("in 2 Dags")


def test_keyboard_alone(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, "failed?from=-12h"))
    page.get_by_label("Tick all on this page").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Preview 3 Dags")).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == "Preview 3 Dags":
            break
    page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text("in 3 Dags")


def test_what_failed_in_the_last_day_is_cleared_with_three_clicks(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    page.add_init_script(CLICKS)
    page.goto(address(prefixed_server))
    page.get_by_label("Tick all on this page").check()
    page.get_by_role("button", name="Preview 3 Dags").click()
    page.locator(".dock [data-primary]").click()
    expect(heading(page)).to_contain_text("Cleared ")
    assert clicks(page) == 3


def test_what_is_missing_is_where_the_button_leads(prefixed_server, open_page, night):
    body = {
        "dag_ids": ["e2e_orders", "e2e_team_b"],
        # The downstream tasks have already succeeded, and stay as they are.
        "failed_from": (NIGHT - MINUTE).isoformat(),
        "failed_to": (NIGHT + 5 * MINUTE).isoformat(),
    }
    answer = prefixed_server.api("POST", "/pluginsv2/safe_clear/change_sets", json=body)
    made = answer.raise_for_status().json()
    page = open_page(prefixed_server)
    page.goto(address(prefixed_server, f"change_sets/{made['id']}"))
    button = page.locator(".dock [data-primary]")
    boxes = page.locator('input[name="acknowledge"]')
    expect(boxes).to_have_count(sum(one["level"] == "acknowledge" for one in made["findings"]))
    expect(button).to_have_attribute("aria-disabled", "true")
    # The button looks switched off, and leads to the missing step.
    button.click(force=True)
    expect(boxes.first).to_be_focused()
    expect(page.locator("[data-left]")).to_contain_text("Acknowledge")
    acknowledge_all(page)
    expect(page.locator("[data-left]")).to_have_text("")
    button.click()
    expect(heading(page)).to_contain_text("Cleared ")


def test_a_lost_answer_is_asked_for(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    tick_all_and_preview(page, prefixed_server)
    acknowledge_all(page)
    page.get_by_label("Reason").fill("the database was away")

    def lose(route):
        route.fetch()
        route.abort()

    page.route("**/apply", lose)
    page.locator(".dock [data-primary]").click()
    expect(heading(page)).to_contain_text("Cleared ")
    expect(page.locator("main")).to_contain_text("the database was away")


def test_a_request_that_did_not_arrive_keeps_what_was_typed(prefixed_server, open_page, night):
    page = open_page(prefixed_server)
    tick_all_and_preview(page, prefixed_server)
    acknowledge_all(page)
    page.get_by_label("Reason").fill("the database was away")
    page.route("**/apply", lambda route: route.abort())
    page.locator(".dock [data-primary]").click()
    expect(page.locator(".dock .trouble")).to_contain_text("The connection was lost.")
    expect(page.get_by_label("Reason")).to_have_value("the database was away")
    assert "failed" in night.states()["e2e_team_b"]


def test_without_javascript(prefixed_server, open_page, night):
    page = open_page(prefixed_server, java_script_enabled=False)
    page.goto(address(prefixed_server, "failed?from=-12h"))
    page.get_by_label("e2e_orders", exact=True).check()
    page.get_by_label("e2e_team_b", exact=True).check()
    page.locator("#preview button").click()
    expect(heading(page)).to_contain_text("in 2 Dags")
    acknowledge_all(page)
    page.locator(".dock [data-primary]").click()
    # A driver that is still at work would clear the next test's failures.
    expect(heading(page)).to_contain_text("Cleared ")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1440])
def test_axe_finds_nothing(prefixed_server, open_page, night, mode, width):
    page = open_page(prefixed_server, color_scheme=mode, viewport={"width": width, "height": 900 - width % 7})
    page.goto(address(prefixed_server, "failed?from=-12h"))
    page.get_by_label("Tick all on this page").check()
    look(page, f"ticks-{width}-{mode}")
    page.get_by_role("button", name="Preview 3 Dags").click()
    expect(heading(page)).to_contain_text("in 3 Dags")
    look(page, f"set-{width}-{mode}")
    acknowledge_all(page)
    page.locator(".dock [data-primary]").click()
    expect(heading(page)).to_contain_text("Cleared ")
    look(page, f"receipt-{width}-{mode}")
    page.get_by_role("link", name="Undo…", exact=True).click()
    expect(heading(page)).to_contain_text("Restore ")
    look(page, f"undo-{width}-{mode}")


def test_in_airflows_frame(prefixed_server, open_page, night):
    page = open_page(prefixed_server, viewport={"width": 1440, "height": 900})
    page.goto(f"{prefixed_server.url}/plugin/safe_clear")
    frame = the_frame(page)
    frame.get_by_label("Tick all on this page").check()
    frame.get_by_role("button", name="Preview 3 Dags").click()
    expect(heading(frame)).to_contain_text("in 3 Dags")
    picture(page, "frame-set")
    frame.locator(".dock [data-primary]").click()
    expect(heading(frame)).to_contain_text("Cleared ")
    picture(page, "frame-receipt")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_under_way_and_out_of_date(prefixed_server, open_page, night, mode):
    page = open_page(prefixed_server, color_scheme=mode, viewport={"width": 1280, "height": 900})
    tick_all_and_preview(page, prefixed_server)
    under_way = page.url.rsplit("/", 1)[1]
    # Their state between two batches; no driver works on them.
    night.run(f"UPDATE safe_clear_plan SET status = 'applying' WHERE change_set_id = '{under_way}'")
    page.goto(address(prefixed_server, f"change_sets/{under_way}"))
    expect(heading(page)).to_have_text("Clearing: 0 of 9 task instances")
    expect(page.locator("[data-turns]")).to_contain_text("Waits for its turn")
    look(page, f"progress-{mode}")
    night.run(f"UPDATE safe_clear_plan SET status = 'ready' WHERE change_set_id = '{under_way}'")
    page.goto(address(prefixed_server, f"change_sets/{under_way}"))
    night.put("success", NIGHT, "dag_id = 'e2e_team_b'")
    page.locator(".dock [data-primary]").click()
    expect(heading(page)).to_contain_text("1 Dag changed after the preview")
    look(page, f"stale-{mode}")
    page.get_by_role("button", name="Preview without e2e_team_b").click()
    expect(heading(page)).to_contain_text("in 2 Dags")


def picture(page, name: str) -> None:
    """Keep a picture, if pictures are wanted."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")
