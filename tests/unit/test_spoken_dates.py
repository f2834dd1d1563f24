"""Dates as people say them."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_clear_plugin.core.dates import parse_moment
from safe_clear_plugin.core.spoken_dates import as_date

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 30, 6, 20, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("said", "date"),
    [
        ("23 Nov", "2026-11-23"),
        ("23. nov", "2026-11-23"),
        ("23 November", "2026-11-23"),
        ("Nov 23", "2026-11-23"),
        ("30 Nov", "2026-11-30"),
        ("1 Dec", "2025-12-01"),
        ("1 Dec 2026", "2026-12-01"),
        ("Dec 1, 2026", "2026-12-01"),
        ("23 Nov 02:00", "2026-11-23 02:00"),
        ("23 Nov 2024 2:00", "2024-11-23 02:00"),
        ("29 Feb", "2024-02-29"),
        ("today", "2026-11-30"),
        ("Yesterday", "2026-11-29"),
        ("yesterday 02:00", "2026-11-29 02:00"),
        ("  yesterday   2:05 ", "2026-11-29 02:05"),
        ("-3d", "2026-11-27 06:20:05+00:00"),
        ("-12h", "2026-11-29 18:20:05+00:00"),
        ("-90 min", "2026-11-30 04:50:05+00:00"),
        ("now", "2026-11-30 06:20:05+00:00"),
    ],
)
def test_what_is_said_is_a_date(said, date):
    assert as_date(said, NOW) == date
    parse_moment(date, BERLIN, end=False)


@pytest.mark.parametrize(
    "text",
    ["2026-11-01", "2026-11-01 02:00", "", "31 Feb", "0 Nov", "23 Mov", "32 Dec 2026", "yesterday 25:00",
     "tomorrow", "23", "Nov", "-3", "-99999d", "１ Nov", "may", "1 Nov 0000"],
)  # fmt: skip
def test_any_other_text_is_left_as_it_is(text):
    assert as_date(text, NOW) == text


def test_days_are_those_of_the_zone():
    late = datetime(2026, 11, 29, 23, 30, tzinfo=timezone.utc).astimezone(BERLIN)
    assert as_date("today", late) == "2026-11-30"
    assert as_date("yesterday 02:00", late) == "2026-11-29 02:00"
    assert as_date("-1h", late) == "2026-11-29 23:30:00+01:00"


@given(st.text(max_size=30))
def test_nothing_breaks_it(text):
    assert isinstance(as_date(text, NOW), str)


def test_a_clock_change_is_counted_by_the_time_that_passed():
    after = datetime(2026, 3, 29, 1, 2, tzinfo=timezone.utc).astimezone(BERLIN)
    assert as_date("-5m", after) == "2026-03-29 01:57:00+01:00"


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)))
def test_what_it_returns_is_never_after_now(moment):
    now = moment.astimezone(BERLIN)
    for said in ("today", "yesterday", "29 Feb", "31 Dec", "1 Jan", "-5m", "-9999d"):
        date = as_date(said, now)
        assert parse_moment(date, BERLIN, end=False) <= now.astimezone(timezone.utc)
