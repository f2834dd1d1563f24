"""States are written as Airflow's UI writes them, from one place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import airflow
import pytest

from safe_clear_plugin.core.drift import DriftCode, DriftedRow, StateThen, side_text
from safe_clear_plugin.core.states import RUN_STATES, TASK_INSTANCE_STATES, counted_states, state_name
from safe_clear_plugin.web.app.state_labels import STATE_ORDER, state_label

UI_TEXTS = Path(airflow.__file__).parent / "ui/dist/i18n/locales/en/common.json"
PAGES = Path(__file__).parents[2] / "templates/safe_clear"


def test_every_state_has_the_name_that_airflows_ui_gives_it():
    names = json.loads(UI_TEXTS.read_text())["states"]
    ours = {state: state_name(state) for state in (*TASK_INSTANCE_STATES, *RUN_STATES) if state in names}
    assert len(ours) >= 13
    assert ours == {state: names[state] for state in ours}


def test_bars_and_legends_know_every_state():
    assert sorted(STATE_ORDER) == sorted(TASK_INSTANCE_STATES)
    assert state_label(None) == "No Status"
    assert state_label("absent") == "Does not exist yet"


def test_numbers_by_state():
    assert counted_states([("up_for_retry", 1_200), (None, 3)]) == "1,200 Up For Retry, 3 No Status"


@pytest.mark.parametrize(
    ("side", "stored", "text"),
    [
        (StateThen("failed"), ("failed", "failed", None), "Failed"),
        (StateThen("up_for_retry", 2), ("up_for_retry, try 2", "up_for_retry", 2), "Up For Retry, try 2"),
        (StateThen(None, 0), ("none, try 0", "none", 0), "No Status, try 0"),
        ("not there", ("not there", None, None), "not there"),
        ("failed", ("failed", None, None), "failed"),
    ],
    ids=str,
)
def test_what_moved_since_the_preview(side, stored, text):
    row = DriftedRow("task_instance", DriftCode.STATE, "gone", side).to_json()
    assert (row["now"], row["now_state"], row["now_try"]) == stored
    assert (row["before"], row["before_state"], row["before_try"]) == ("gone", None, None)
    assert side_text(*stored) == text


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.html")), ids=lambda page: page.stem)
def test_no_page_writes_a_state_as_it_is_stored(page):
    """A state that is text of a page goes through ``state_label`` or a macro that does so."""
    assert re.findall(r">\s*{{\s*([^{}]*\bstate(?:_now|_back)?)\s*}}", page.read_text()) == []
