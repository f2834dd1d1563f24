"""Dates as people type them, read in a time zone with all its clock changes, and the time now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

TYPED = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r" ?(?P<offset>Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?)?",
    re.ASCII,
)
"""A day, or a day and a time: one grammar on every Python, without weeks such as ``2026-W01``."""

SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)

ClockChange = Literal["twice", "skipped"]


class NoSuchDay(ValueError):
    """A day that the time zone leaves out, as a place does that moves across the date line."""

    def __init__(self, day: date, zone: ZoneInfo) -> None:
        super().__init__(f"{day.isoformat()} doesn't exist in {zone.key}.")
        self.day = day
        self.zone = zone


@dataclass(frozen=True, slots=True)
class Typed:
    """A typed day or time of a day, as the clock on the wall shows it."""

    wall: datetime
    has_time: bool
    offset: timedelta | None
    """From UTC, where the text says so."""


def utcnow() -> datetime:
    """Return the time now, with its zone, as Airflow's ``timezone.utcnow`` does."""
    return datetime.now(timezone.utc)


def parse_typed(text: str) -> Typed:
    """Take a date, or a date with a time, apart.

    :raises ValueError: when ``text`` is none
    """
    found = TYPED.fullmatch(text.strip())
    if found is None or found["year"] is None:
        raise ValueError(f"no date: {text!r}")
    day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    if found["hour"] is None:
        return Typed(datetime.combine(day, time.min), False, None)
    clock = time(
        int(found["hour"]),
        int(found["minute"] or 0),
        int(found["second"] or 0),
        int((found["fraction"] or "").ljust(6, "0")[:6]),
    )
    return Typed(datetime.combine(day, clock), True, _offset(found["offset"]))


def _offset(text: str | None) -> timedelta | None:
    if text is None or text == "Z":
        return None if text is None else timedelta(0)
    digits = text[1:].replace(":", "")
    hours, minutes, seconds = (int(digits[start : start + 2] or 0) for start in (0, 2, 4))
    size = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if minutes > 59 or seconds > 59 or size >= timedelta(days=1):
        raise ValueError(f"no offset from UTC: {text}")
    return -size if text[0] == "-" else size


def parse_moment(text: str, zone: ZoneInfo, *, end: bool) -> datetime:
    """Read a date or a date with a time, in ``zone`` unless it carries an offset of its own.

    A date alone is its first moment or, with ``end``, its last one. A time that a clock change shows twice,
    or leaves out, can mean two moments: the reading that widens the range is taken, which is the earlier one
    or, with ``end``, the later one.

    Returned in UTC.

    :raises ValueError: when ``text`` is no date or time, or the zone has no such day
    :raises OverflowError: when it lies at the rim of the calendar and has no equivalent in UTC
    """
    typed = parse_typed(text)
    if typed.offset is not None:
        return typed.wall.replace(tzinfo=timezone(typed.offset)).astimezone(timezone.utc)
    if typed.has_time:
        earlier, later = readings(typed.wall, zone)
        return later if end else earlier
    return _edge_of_day(typed.wall, zone, end=end)


def parse_wall_clock(text: str, *, end: bool) -> datetime:
    """Read a date or a time as the clock on the wall shows it, wherever that is; an offset is not looked at.

    Returned as if the wall were in UTC.

    :raises ValueError: when ``text`` is no date or time
    """
    typed = parse_typed(text)
    wall = typed.wall if typed.has_time or not end else datetime.combine(typed.wall, time.max)
    return wall.replace(tzinfo=timezone.utc)


def readings(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the two moments that a time can mean, the earlier one first; mostly they are the same.

    Python's ``fold`` counts them by time where a clock change shows a time twice, and the other way round
    where it leaves a time out.
    """
    # In UTC, since Python holds an ambiguous time of a zone equal to no time of another.
    both = [wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)]
    return min(both), max(both)


def clock_change(text: str, zone: ZoneInfo) -> ClockChange | None:
    """Say whether a clock change of the zone shows the time twice, or leaves it out.

    :raises ValueError: when ``text`` is no date or time
    :raises OverflowError: when it lies at the rim of the calendar
    """
    typed = parse_typed(text)
    if typed.offset is not None or not typed.has_time:
        return None
    earlier, later = readings(typed.wall, zone)
    if earlier == later:
        return None
    return "skipped" if _is_skipped(earlier, typed.wall, zone) else "twice"


def _is_skipped(earlier: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    return earlier.astimezone(zone).replace(tzinfo=None) != wall


def _edge_of_day(midnight: datetime, zone: ZoneInfo, *, end: bool) -> datetime:
    """Return the first moment of a day, or with ``end`` the last one, also where midnight is left out."""
    earlier, later = readings(midnight, zone)
    first = _change(earlier, later, zone) if _is_skipped(earlier, midnight, zone) else earlier
    evening = datetime.combine(midnight, time.max)
    earlier, later = readings(evening, zone)
    last = _change(earlier, later, zone) - MOMENT if _is_skipped(earlier, evening, zone) else later
    if first > last:
        raise NoSuchDay(midnight.date(), zone)
    return last if end else first


def _change(earlier: datetime, later: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment between two others, to the second, at which the clocks of a zone go forward."""
    before = earlier.astimezone(zone).utcoffset()
    while later - earlier > SECOND:
        middle = earlier + (later - earlier) // 2
        middle = middle.replace(microsecond=0) if middle.replace(microsecond=0) > earlier else middle
        if middle.astimezone(zone).utcoffset() == before:
            earlier = middle
        else:
            later = middle
    return later
