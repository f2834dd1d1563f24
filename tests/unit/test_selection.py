"""Reading dates, keeping selections."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_clear_plugin.core import selection_rules
from safe_clear_plugin.core.dates import parse_moment
from safe_clear_plugin.core.selection import Selection

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")


def utc(*args):
    return datetime(*args, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "zone", "end", "expected"),
    [
        ("2026-11-01", UTC, False, utc(2026, 11, 1)),
        ("2026-11-01", UTC, True, utc(2026, 11, 1, 23, 59, 59, 999999)),
        ("2026-11-01 06:30", UTC, True, utc(2026, 11, 1, 6, 30)),
        ("2026-11-01T06:30:15", UTC, False, utc(2026, 11, 1, 6, 30, 15)),
        ("2026-11-01", BERLIN, False, utc(2026, 10, 31, 23)),
        ("2026-11-01T06:30+05:00", BERLIN, False, utc(2026, 11, 1, 1, 30)),
        # Clocks go back from 03:00 to 02:00: 02:30 is twice.
        ("2026-10-25 02:30", BERLIN, False, utc(2026, 10, 25, 0, 30)),
        ("2026-10-25 02:30", BERLIN, True, utc(2026, 10, 25, 1, 30)),
    ],
)
def test_parse_moment(text, zone, end, expected):
    assert parse_moment(text, zone, end=end) == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "2026-11-01 25:00", "1.11.2026"])
def test_what_is_no_date_raises(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_moment(text, UTC, end=False)


def test_a_day_is_the_same_length_as_its_clock_says():
    def length(day):
        return parse_moment(day, BERLIN, end=True).astimezone(UTC) - parse_moment(day, BERLIN, end=False)

    assert round(length("2026-10-25") / timedelta(hours=1)) == 25
    assert round(length("2026-03-29") / timedelta(hours=1)) == 23


names = st.lists(st.text(max_size=8), max_size=3).map(tuple)
moments = st.none() | st.datetimes(timezones=st.just(timezone.utc))
selections = st.builds(
    Selection,
    dag_id=st.text(max_size=9),
    task_regex=st.text(max_size=9),
    task_ids=names,
    run_id=names,
    date_from=moments,
    date_to=moments,
    state=names,
    map_index=st.none() | st.integers(-1, 5),
    run_on_latest_version=st.none() | st.booleans(),
    reset_dag_runs=st.booleans(),
    include_past=st.booleans(),
    exclude_task_id=names,
)


@given(selections)
def test_a_selection_survives_json(selection):
    import json

    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


@given(selections)
def test_everything_at_once_is_always_refused(selection):
    fields = {problem.field for problem in selection_rules.check(selection)}
    unbounded = not selection.run_id and selection.date_from is None and selection.date_to is None
    assert ("date_from" in fields) == unbounded
    if selection.date_from and selection.date_to:
        assert ("date_to" in fields) == (selection.date_from > selection.date_to)
    assert ("map_index" in fields) == (selection.map_index is not None and not selection.names_tasks)
    assert ("task_ids" in fields) == (bool(selection.task_regex) and bool(selection.task_ids))


def test_only_failed_comes_with_setups_and_leaves_other_filters_alone():
    only = Selection("etl", state=("success",)).only_failed(wanted=True)
    assert (only.state, only.include_setups) == (("failed", "upstream_failed"), True)
    assert only.is_only_failed
    assert Selection("etl", state=("upstream_failed", "failed")).is_only_failed
    assert only.only_failed(wanted=False).state == ()
    assert Selection("etl", state=("failed",)).only_failed(wanted=False).state == ("failed",)
