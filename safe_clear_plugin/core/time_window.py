"""A window of time as people type it: ``02:00`` to ``04:00``, the last ``-12h``, or dates."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from safe_clear_plugin.core.dates import parse_moment, readings

RELATIVE = re.compile(r"-(?P<number>\d{1,4}) ?(?P<unit>min|m|h|d)", re.ASCII)
CLOCK = re.compile(r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)", re.ASCII)
NOW = "now"
UNITS = {
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
DEFAULT = timedelta(days=1)
"""Length of a window for which no beginning is given."""


def read_window(
    start: str | None, end: str | None, zone: ZoneInfo, now: datetime
) -> tuple[datetime, datetime]:
    """Return both ends in UTC; without an end it is now, and without a begin a day before the end.

    A time of day alone is the last one before now, or before the end; as an end, the first one after the
    begin. So ``22:00`` to ``02:00`` is one night, and at three ``02:00`` to ``04:00`` is tonight.

    :raises ValueError: when one of them cannot be read
    :raises OverflowError: when one lies at the rim of the calendar
    """
    if end is not None and CLOCK.fullmatch(end.strip()):
        since = read_edge(start, zone, now, end=False) if start is not None else None
        if since is None:
            until = _clock_before(end, zone, now, end=True)
            return until - DEFAULT, until
        return since, _clock_after(end, zone, since)
    until = now if end is None else read_edge(end, zone, now, end=True)
    if start is None:
        return until - DEFAULT, until
    if CLOCK.fullmatch(start.strip()):
        return _clock_before(start, zone, until, end=False), until
    return read_edge(start, zone, now, end=False), until


def read_edge(text: str, zone: ZoneInfo, now: datetime, *, end: bool) -> datetime:
    """Read one end by itself; a time of day is the last one before now.

    :raises ValueError: when it cannot be read
    :raises OverflowError: when it lies at the rim of the calendar
    """
    text = text.strip()
    if text == NOW:
        return now
    if found := RELATIVE.fullmatch(text):
        return now - int(found["number"]) * UNITS[found["unit"]]
    if CLOCK.fullmatch(text):
        return _clock_before(text, zone, now, end=end)
    return parse_moment(text, zone, end=end)


def _clock_before(text: str, zone: ZoneInfo, moment: datetime, *, end: bool) -> datetime:
    """Return the last moment that is not after another at which a clock on the wall shows this."""
    return max(one for one in _around(text, zone, moment, end=end) if one <= moment)


def _clock_after(text: str, zone: ZoneInfo, moment: datetime) -> datetime:
    return min(one for one in _around(text, zone, moment, end=True) if one > moment)


def _around(text: str, zone: ZoneInfo, moment: datetime, *, end: bool) -> list[datetime]:
    """Return the moments of some days at which a clock shows this; of a repeated one that which widens."""
    found = CLOCK.fullmatch(text.strip())
    assert found is not None
    clock = time(int(found["hour"]), int(found["minute"]))
    today = moment.astimezone(zone).date()
    days = (today + timedelta(days=number) for number in (-2, -1, 0, 1, 2))
    both = (readings(datetime.combine(day, clock), zone) for day in days)
    return [later if end else earlier for earlier, later in both]
