"""Hours, days, weeks, months and years in UTC, into which many dag runs are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal

Unit = Literal["hour", "day", "week", "month", "year"]

UNITS: tuple[Unit, ...] = ("hour", "day", "week", "month", "year")
_STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
LAST = datetime.max.replace(tzinfo=timezone.utc)


def start_of(moment: datetime, unit: Unit) -> datetime:
    """Return when the hour, day, … that ``moment`` lies in begins; weeks begin on Monday."""
    moment = moment.astimezone(timezone.utc)
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        # The calendar begins on a Monday, so no week lies before it.
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def next_start(start: datetime, unit: Unit) -> datetime:
    """Return when the following hour, day, … begins; at the end of the calendar, its last moment."""
    try:
        if unit in _STEPS:
            return start + _STEPS[unit]
        if unit == "year":
            return start.replace(year=start.year + 1)
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    except (OverflowError, ValueError):
        return LAST


def starts(first: datetime, last: datetime, unit: Unit, most: int) -> list[datetime]:
    """Return when the bins from the one of ``first`` to the one of ``last`` begin, ``most`` at most."""
    found = [start_of(first, unit)]
    while len(found) < most and (following := next_start(found[-1], unit)) <= last:
        if following == LAST:
            break
        found.append(following)
    return found


def fitting(first: datetime, last: datetime, most: int, units: Sequence[Unit] = UNITS) -> Unit:
    """Return the smallest unit that covers the time between two moments with at most ``most`` buckets."""
    for unit in units:
        if len(starts(first, last, unit, most + 1)) <= most:
            return unit
    return units[-1]
