"""Numbers, lengths of time and moments to come, in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from safe_clear_plugin.core import plan_text

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def span(seconds: float) -> str:
    """Write a length of time with its two largest units: ``45 s``, ``3 h 5 min``, ``2 days 4 h``."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return _two(f"{whole // HOUR} h", whole % HOUR // MINUTE, "min")
    return _two(plan_text.count(whole // DAY, "day"), whole % DAY // HOUR, "h")


def _two(first: str, rest: int, unit: str) -> str:
    return f"{first} {rest} {unit}" if rest else first


def work(seconds: float) -> str:
    """Write how long tasks are at work, added up: ``20 h of task time``, ``12 min of task time``."""
    if seconds < MINUTE:
        return "under 1 min of task time"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min of task time"
    hours = seconds / HOUR
    return f"{round(hours):,} h of task time" if hours >= 10 else f"{hours:.1f} h of task time"


def about(now: datetime, seconds: float) -> str:
    """Write the moment so long after ``now``: the time of day, with the date unless it is today's."""
    then = (now + timedelta(seconds=seconds)).astimezone(timezone.utc)
    if then.date() == now.astimezone(timezone.utc).date():
        return f"{then:%H:%M} UTC"
    return plan_text.moment(then.replace(second=0, microsecond=0))


def verb(number: int, one: str, many: str) -> str:
    """Return the verb that goes with a number of things."""
    return one if number == 1 else many
