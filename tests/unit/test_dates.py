"""Dates as people type them: no moment that was meant is lost, and none is added."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from safe_clear_plugin.core import dates
from safe_clear_plugin.core.dates import NoSuchDay, clock_change, parse_moment, parse_wall_clock

UTC = ZoneInfo("UTC")
NEW_YORK = ZoneInfo("America/New_York")
CAIRO = ZoneInfo("Africa/Cairo")
APIA = ZoneInfo("Pacific/Apia")
HAVANA = ZoneInfo("America/Havana")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
TORONTO = ZoneInfo("America/Toronto")

MICROSECOND = timedelta(microseconds=1)
# Zones with clocks that change by a day, by an hour, by half an hour, at midnight, and never.
zones = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
minutes = st.datetimes(datetime(1900, 1, 1), datetime(2037, 12, 30)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)


@st.composite
def near_changes(draw):
    """Draw a zone, and a wall clock close to one of its changes if it has one after 1970."""
    zone = draw(zones)
    start = draw(st.datetimes(datetime(1970, 1, 1), datetime(2037, 1, 1), timezones=st.just(timezone.utc)))
    before = start.astimezone(zone).utcoffset()
    for hours in range(0, 24 * 250, 12):
        moment = start + timedelta(hours=hours)
        if moment.astimezone(zone).utcoffset() != before:
            shift = draw(st.integers(-24 * 60, 24 * 60))
            return zone, (moment + timedelta(minutes=shift)).astimezone(zone).replace(
                tzinfo=None, fold=0, second=0, microsecond=0
            ) + timedelta(minutes=draw(st.integers(-90, 90)))
    return zone, start.replace(tzinfo=None, second=0, microsecond=0)


def utc(*args):
    return datetime(*args, tzinfo=timezone.utc)


def read(first, last, zone):
    return parse_moment(first, zone, end=False), parse_moment(last, zone, end=True)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-03-08 02:00", "2026-03-08 02:59", (utc(2026, 3, 8, 6), utc(2026, 3, 8, 7, 59))),
        ("2026-03-08 01:30", "2026-03-08 02:30", (utc(2026, 3, 8, 6, 30), utc(2026, 3, 8, 7, 30))),
        ("2026-03-08 02:30", "2026-03-08 03:30", (utc(2026, 3, 8, 6, 30), utc(2026, 3, 8, 7, 30))),
        # Next to the gap nothing is widened.
        ("2026-03-08 01:59", "2026-03-08 03:00", (utc(2026, 3, 8, 6, 59), utc(2026, 3, 8, 7))),
        ("2026-03-08", "2026-03-08", (utc(2026, 3, 8, 5), utc(2026, 3, 9, 3, 59, 59, 999999))),
        # In autumn 01:00 to 01:59 is there twice.
        ("2026-11-01 01:00", "2026-11-01 01:59", (utc(2026, 11, 1, 5), utc(2026, 11, 1, 6, 59))),
    ],
)
def test_a_range_at_a_clock_change_of_new_york(first, last, expected):
    assert read(first, last, NEW_YORK) == expected


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        # Clocks go forward at midnight: the day begins at 01:00.
        ("2026-04-24", CAIRO, (utc(2026, 4, 23, 22), utc(2026, 4, 24, 20, 59, 59, 999999))),
        ("2026-03-08", HAVANA, (utc(2026, 3, 8, 5), utc(2026, 3, 9, 3, 59, 59, 999999))),
        # Clocks go back from 01:00 to midnight: the day has 25 hours.
        ("2026-11-01", HAVANA, (utc(2026, 11, 1, 4), utc(2026, 11, 2, 4, 59, 59, 999999))),
        ("2026-10-04", LORD_HOWE, (utc(2026, 10, 3, 13, 30), utc(2026, 10, 4, 12, 59, 59, 999999))),
        # From 23:30 on 30 March to 00:30 on the 31st.
        ("1919-03-30", TORONTO, (utc(1919, 3, 30, 5), utc(1919, 3, 31, 4, 29, 59, 999999))),
        ("1919-03-31", TORONTO, (utc(1919, 3, 31, 4, 30), utc(1919, 4, 1, 3, 59, 59, 999999))),
    ],
)
def test_a_day_is_what_its_zone_calls_so(text, zone, expected):
    assert read(text, text, zone) == expected


def test_a_day_that_its_zone_leaves_out_is_refused():
    with pytest.raises(NoSuchDay, match="2011-12-30 doesn't exist in Pacific/Apia"):
        parse_moment("2011-12-30", APIA, end=False)
    assert parse_moment("2011-12-29", APIA, end=True) + MICROSECOND == parse_moment(
        "2011-12-31", APIA, end=False
    )


@pytest.mark.parametrize(
    "text",
    [
        *("2026-W01", "2026-W01-1", "2026W01", "2026W011", "2026-W01-1T10:00", "2026-001", "2026"),
        *(
            "2026-01",
            "202601",
            "2026-11-01x06:30",
            "2026-11-01T24:00",
            "2026-11-01 06:30+25:00",
            "\uff12\uff10\uff12\uff16-01-01",
        ),
        *("2026-02-30", "2026-11-01 6:30", "2026-11-01 06:60", "--", "2026-11-01 06:30 +01:75"),
    ],
)
def test_what_is_no_day_raises(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_moment(text, UTC, end=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261101", utc(2026, 11, 1)),
        ("20261101T063015", utc(2026, 11, 1, 6, 30, 15)),
        ("2026-11-01T06:30:15.25Z", utc(2026, 11, 1, 6, 30, 15, 250000)),
        ("2026-11-01 06:30 +05:30", utc(2026, 11, 1, 1)),
        ("2026-11-01T06-0800", utc(2026, 11, 1, 14)),
    ],
)
def test_what_airflow_writes_is_read(text, expected):
    assert parse_moment(text, NEW_YORK if expected.tzinfo and "Z" in text else UTC, end=True) >= expected
    assert parse_moment(text, UTC, end=False) == expected


@given(near_changes(), st.integers(0, 180))
@example((NEW_YORK, datetime(2026, 3, 8, 1, 30)), 60)
@example((APIA, datetime(2011, 12, 29, 23)), 120)
def test_a_range_holds_every_moment_whose_clock_is_within_it(drawn, length):
    zone, wall = drawn
    last = wall + timedelta(minutes=length)
    start, end = read(wall.isoformat(" ", "minutes"), last.isoformat(" ", "minutes"), zone)
    assert start <= end
    probe = start - timedelta(hours=30)
    while probe <= end + timedelta(hours=30):
        clock = probe.astimezone(zone).replace(tzinfo=None, fold=0)
        if wall <= clock <= last:
            assert start <= probe <= end
        probe += timedelta(minutes=15)


@given(near_changes())
@example((NEW_YORK, datetime(2026, 3, 8, 2, 30)))
@example((NEW_YORK, datetime(2026, 11, 1, 1, 30)))
def test_a_time_is_widened_only_where_a_clock_change_makes_it_mean_two_moments(drawn):
    zone, wall = drawn
    text = wall.isoformat(" ", "minutes")
    start, end = read(text, text, zone)
    change = clock_change(text, zone)
    assert (start == end) == (change is None)
    shown = {moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall for moment in (start, end)}
    assert shown == {change != "skipped"}


@given(near_changes())
@example((CAIRO, datetime(2026, 4, 24)))
@example((TORONTO, datetime(1919, 3, 30)))
@example((TORONTO, datetime(1919, 3, 31)))
def test_a_day_begins_and_ends_as_its_zone_says(drawn):
    zone, wall = drawn
    day = wall.date()
    try:
        start, end = read(day.isoformat(), day.isoformat(), zone)
    except NoSuchDay:
        noon = datetime.combine(day, time(12))
        assert clock_change(noon.isoformat(" ", "minutes"), zone) == "skipped"
        return
    assert start.astimezone(zone).date() == day == end.astimezone(zone).date()
    assert (start - MICROSECOND).astimezone(zone).date() < day < (end + MICROSECOND).astimezone(zone).date()


@given(zones, st.dates(date(1900, 1, 1), date(2037, 12, 30)))
def test_days_follow_each_other_without_a_gap(zone, day):
    following = day + timedelta(days=1)
    try:
        end = parse_moment(day.isoformat(), zone, end=True)
        start = parse_moment(following.isoformat(), zone, end=False)
    except NoSuchDay:
        assume(False)
    # Clocks that go back over midnight show the end of a day again after the next one began.
    assert start - end <= MICROSECOND


@given(minutes, st.booleans())
def test_a_wall_clock_is_read_as_it_is_typed(wall, end):
    for offset in ("", "Z", "+05:30"):
        typed = f"{wall.isoformat(' ', 'minutes')}{offset}"
        assert parse_wall_clock(typed, end=end) == wall.replace(tzinfo=timezone.utc)


def test_the_last_day_of_the_calendar_has_an_end():
    assert parse_moment("9999-12-31", UTC, end=True) == utc(9999, 12, 31, 23, 59, 59, 999999)
    assert dates.parse_wall_clock("9999-12-31", end=True) == utc(9999, 12, 31, 23, 59, 59, 999999)
