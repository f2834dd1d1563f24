"""Moments as people read them, always in UTC."""

from __future__ import annotations

from datetime import datetime, timezone

from safe_clear_plugin.core import formats

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not by ``strftime``, which follows the server's locale."""
MINUTE, HOUR, DAY = 60, 3_600, 86_400


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
    return f"{formats.WEEKDAYS[utc(moment).weekday()]} {when(moment)}"


def when_full(moment: datetime) -> str:
    """Write a moment to the second, as ``2026-11-01 03:19:12 UTC``."""
    return f"{utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def when_day(moment: datetime, now: datetime) -> str:
    """Write a day as ``Wed 4 Nov``, with its year unless that is this one."""
    moment = utc(moment)
    year = "" if moment.year == utc(now).year else f" {moment.year}"
    return day(moment) + year


def day(moment: datetime) -> str:
    """Write the day of a moment on its own clock as ``Wed 4 Nov``."""
    return f"{formats.WEEKDAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]}"


def when_brief(moment: datetime, now: datetime) -> str:
    """Write a moment as ``today 03:12`` or ``4 Nov 03:12``, with the year unless it is this year."""
    moment, now = utc(moment), utc(now)
    if moment.date() == now.date():
        return f"today {moment:%H:%M}"
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment.day} {MONTHS[moment.month - 1]}{year} {moment:%H:%M}"


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


def when_days(first: datetime, last: datetime) -> str:
    """Write the dates of the first and the last of some dag runs as short as possible: ``1 to 3 Nov``.

    The time of day is left out if both are midnight; the year is written only if it differs.
    """
    start, end = utc(first), utc(last)
    at_midnight = not any((start.hour, start.minute, end.hour, end.minute))

    def write(moment: datetime, *, year: bool) -> str:
        text = f"{moment.day} {MONTHS[moment.month - 1]}" + (f" {moment.year}" if year else "")
        return text if at_midnight else f"{text} {moment:%H:%M}"

    if start == end:
        return write(start, year=True)
    if start.date() == end.date():
        return f"{write(start, year=True)} to {end:%H:%M}"
    return f"{write(start, year=start.year != end.year)} to {write(end, year=True)}"


def partition(key: str | None, date: datetime | None) -> str:
    """Write a partition as ``partition eu, partition date 2026-11-01 00:00 UTC``; nothing without one."""
    parts = [f"partition {key}" if key else "", f"partition date {when(date)}" if date else ""]
    return ", ".join(filter(None, parts))


def iso(moment: datetime) -> str:
    """Write a moment in ISO 8601, for ``datetime`` attributes and scripts."""
    return utc(moment).isoformat()


def ago(moment: datetime, now: datetime) -> str:
    """Say how far ``moment`` lies from ``now``: ``3 h ago``, ``in 2 days``."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < MINUTE:
        return "just now"
    amount = distance(moment, now)
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def distance(moment: datetime, now: datetime) -> str:
    """Say how much time lies between two moments: ``less than a minute``, ``3 h``, ``2 days``."""
    size = abs((now - moment).total_seconds())
    if size < MINUTE:
        return "less than a minute"
    if size < HOUR:
        return f"{int(size // MINUTE)} min"
    if size < 2 * DAY:
        return f"{int(size // HOUR)} h"
    return formats.count(int(size // DAY), "day")
