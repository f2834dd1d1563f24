"""A window of time as people type it at night."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from safe_clear_plugin.core.time_window import read_window

UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")


def at(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(timezone.utc)


def window(start, end, now, zone=UTC):
    return read_window(start, end, zone, at(now))


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-11-29 03:00", "2026-11-29 02:00", "2026-11-29 04:00"),
        ("2026-11-29 08:00", "2026-11-29 02:00", "2026-11-29 04:00"),
        ("2026-11-29 01:00", "2026-11-28 02:00", "2026-11-28 04:00"),
        ("2026-11-29 02:00", "2026-11-29 02:00", "2026-11-29 04:00"),
    ],
    ids=["in the middle of it", "in the morning", "before it", "as it begins"],
)
def test_tonight_between_two_and_four(now, start, end):
    assert window("02:00", "04:00", now) == (at(start), at(end))
    assert window("2:00", " 4:00 ", now) == (at(start), at(end))


def test_a_night_begins_the_day_before():
    assert window("22:00", "02:00", "2026-11-29 08:00") == (at("2026-11-28 22:00"), at("2026-11-29 02:00"))
    assert window("22:00", "02:00", "2026-11-29 01:00") == (at("2026-11-28 22:00"), at("2026-11-29 02:00"))


def test_clocks_are_those_of_the_zone():
    assert window("02:00", "04:00", "2026-11-29 08:00", BERLIN) == (
        at("2026-11-29 01:00"),
        at("2026-11-29 03:00"),
    )


def test_a_repeated_hour_is_in_the_window_both_times():
    assert window("02:30", "02:45", "2026-10-25 12:00", BERLIN) == (
        at("2026-10-25 00:30"),
        at("2026-10-25 01:45"),
    )


def test_one_time_alone():
    assert window("02:00", None, "2026-11-29 08:00") == (at("2026-11-29 02:00"), at("2026-11-29 08:00"))
    assert window(None, "04:00", "2026-11-29 08:00") == (at("2026-11-28 04:00"), at("2026-11-29 04:00"))
    assert window("02:00", "2026-11-20 04:00", "2026-11-29 08:00")[0] == at("2026-11-20 02:00")
    assert window("2026-11-20 23:00", "04:00", "2026-11-29 08:00")[1] == at("2026-11-21 04:00")


def test_the_last_hours():
    now = at("2026-11-29 08:00")
    for text, length in (
        ("-90m", timedelta(minutes=90)),
        ("-90min", timedelta(minutes=90)),
        ("-12h", timedelta(hours=12)),
        ("-7d", timedelta(days=7)),
    ):
        assert window(text, None, "2026-11-29 08:00") == (now - length, now)
        assert window(text, "now", "2026-11-29 08:00") == (now - length, now)
    assert window("-12h", "-2h", "2026-11-29 08:00") == (
        now - timedelta(hours=12),
        now - timedelta(hours=2),
    )
    assert window(None, None, "2026-11-29 08:00") == (now - timedelta(days=1), now)


def test_days_are_whole_days():
    start, end = window("2026-11-20", "2026-11-20", "2026-11-29 08:00")
    assert (start, end) == (at("2026-11-20 00:00"), at("2026-11-20 23:59:59.999999"))


@pytest.mark.parametrize(
    "text",
    ["", " ", "yesterday", "24:00", "2:0", "-h", "--2h", "-2w", "-99999d", "2026-13-01", "12h", "٠٢:٠٠"],
)
def test_what_is_no_time_is_refused(text):
    for start, end in ((text, None), (None, text), (text, "04:00"), ("02:00", text)):
        with pytest.raises(ValueError, match=r"."):
            window(start, end, "2026-11-29 08:00")
