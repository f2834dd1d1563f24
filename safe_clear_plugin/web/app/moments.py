"""Moments as people read them, always in UTC."""

from __future__ import annotations

from datetime import datetime, timezone

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.plan import PlannedRun

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not by ``strftime``, which follows the server's locale."""


def utc(moment: datetime) -> datetime:
    """Return the moment in UTC."""
    return moment.astimezone(timezone.utc)


def when(moment: datetime | None) -> str:
    """Write a moment as ``2026-11-01 00:00 UTC``."""
    return f"{utc(moment):%Y-%m-%d %H:%M} UTC" if moment else "unknown"


def when_short(moment: datetime) -> str:
    """Write a moment as ``1 Nov 00:00 UTC``, where the year is plain from what stands around it."""
    moment = utc(moment)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment:%H:%M} UTC"


def when_clock(moment: datetime) -> str:
    """Write the time of day as ``03:19:40 UTC``."""
    return f"{utc(moment):%H:%M:%S} UTC"


def when_weekday(moment: datetime) -> str:
    """Write a moment as ``Sun 2026-11-01 00:00 UTC``: a weekday shows a wrong date at once."""
    return f"{WEEKDAYS[utc(moment).weekday()]} {when(moment)}"


def when_full(moment: datetime) -> str:
    """Write a moment to the second, as ``2026-11-01 03:19:12 UTC``."""
    return f"{utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def when_day(moment: datetime, now: datetime) -> str:
    """Write a day as ``Wed 4 Nov``, with its year unless that is this one."""
    moment = utc(moment)
    year = "" if moment.year == utc(now).year else f" {moment.year}"
    return f"{WEEKDAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]}{year}"


def when_minute(moment: datetime) -> str:
    """Write the time of day as ``03:12 UTC``."""
    return f"{utc(moment):%H:%M} UTC"


def when_span(first: datetime, last: datetime) -> str:
    """Write the dates of the first and the last of some dag runs."""
    if first == last:
        return when(first)
    start, end = utc(first), utc(last)
    tail = f"{end:%H:%M} UTC" if start.date() == end.date() else when(last)
    return f"{start:%Y-%m-%d %H:%M} to {tail}"


def iso(moment: datetime) -> str:
    """Write a moment in ISO 8601, for ``datetime`` attributes and scripts."""
    return utc(moment).isoformat()


def ago(moment: datetime, now: datetime) -> str:
    """Say how far ``moment`` lies from ``now``: ``3 h ago``, ``in 2 days``."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 60:
        return "just now"
    if size < 3_600:
        amount = f"{int(size // 60)} min"
    elif size < 2 * 86_400:
        amount = f"{int(size // 3_600)} h"
    else:
        amount = plan_text.count(int(size // 86_400), "day")
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def run_moment(run: PlannedRun) -> datetime:
    """Return the date that a dag run goes by: its logical date or, without one, when it was due."""
    return run.logical_date or run.run_after
