"""The time from an awaited run to the sensor's own run, as people type it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from safe_clear_plugin.core.time_difference import MAX_SECONDS, read_time_difference, write_time_difference


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("same logical date", 0),
        (" Same ", 0),
        ("3600", 3_600),
        ("-60", -60),
        ("+60", 60),
        ("1h", 3_600),
        ("1 H", 3_600),
        ("30m", 1_800),
        ("- 30 min", -1_800),
        ("1 d", 86_400),
        ("2 weeks", 14 * 86_400),
        ("1h30m", 5_400),
        ("1 day 2 hours 5 s", 93_605),
        (str(MAX_SECONDS), MAX_SECONDS),
    ],
)
def test_a_time_is_read(text, seconds):
    assert read_time_difference(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "1x",
        "h",
        "1.5h",
        "1h 30",
        "--1",
        "+-1",
        "1 h -30m",
        "1e3",
        "٣h",
        "9" * 11,
        "99999999d",
        "1:30",
    ],
)
def test_other_text_is_not_read(text):
    assert read_time_difference(text) is None


def test_a_time_is_written_in_words():
    assert write_time_difference(timedelta()) == "same logical date"
    assert write_time_difference(timedelta(hours=1)) == "1 h after"
    assert write_time_difference(timedelta(days=-2)) == "2 days before"
    assert write_time_difference(timedelta(days=1, minutes=30)) == "1 day 30 min after"
    assert write_time_difference(timedelta(hours=-1, seconds=-90)) == "1 h 1 min 30 s before"
    assert write_time_difference(timedelta(seconds=3, milliseconds=250)) == "3 s 250 ms after"
