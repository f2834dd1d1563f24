"""Numbers, lists, lengths of time and moments, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

# Not strftime's, which follow the server's locale.
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MANY = 3
"""Names that a sentence lists before it only counts them."""
UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def count(number: int, noun: str) -> str:
    """Return ``1 dag run``, ``3 dag runs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join_words(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def join_some(names: Sequence[str], noun: str, most: int = MANY) -> str:
    """Return up to ``most`` names, then how many more: ``a, b, c and 2 more tasks``."""
    if len(names) <= most:
        return join_words(names)
    return f"{', '.join(names[:most])} and {count(len(names) - most, f'more {noun}')}"


def either(values: Sequence[str]) -> str:
    """Return alternatives: ``a``, ``a or b``, ``a, b or c``."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def span(seconds: float) -> str:
    """Write a length of time with its two largest units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    largest = next((place for place, (_, length) in enumerate(UNITS) if whole >= length), len(UNITS) - 1)
    return " ".join(_amounts(whole, UNITS[largest : largest + 2])) or "0 s"


def exact(length: timedelta) -> str:
    """Write a length of time with all its units: ``1 day 1 h 30 s``."""
    whole, rest = divmod(abs(length), timedelta(seconds=1))
    parts = [*_amounts(whole, UNITS), *([f"{rest / timedelta(milliseconds=1):g} ms"] if rest else [])]
    return " ".join(parts) or "0 s"


def limit(seconds: float) -> str:
    """Write how long something may take: ``0.5 s``, ``10 s``, ``2 min``."""
    return f"{seconds:g} s" if seconds < 60 else exact(timedelta(seconds=seconds))


def _amounts(whole: int, units: Sequence[tuple[str, int]]) -> Iterator[str]:
    for unit, length in units:
        amount, whole = divmod(whole, length)
        if amount:
            yield count(amount, unit) if unit == "day" else f"{amount:,} {unit}"


def work(seconds: float) -> str:
    """Write how long tasks are at work, added up: ``20 h of task time``, ``12 min of task time``."""
    return f"{span(seconds)} of task time" if seconds >= 60 else "under 1 min of task time"


def about(now: datetime, seconds: float) -> str:
    """Write the moment so long after ``now``: the time of day, with the date unless it is today's."""
    then = (now + timedelta(seconds=seconds)).astimezone(timezone.utc)
    if then.date() == now.astimezone(timezone.utc).date():
        return f"{then:%H:%M} UTC"
    return moment(then.replace(second=0, microsecond=0))


def verb(number: int, one: str, many: str) -> str:
    """Return the verb that goes with a number of things."""
    return one if number == 1 else many


def range_text(start: datetime | None, end: datetime | None, zone: str) -> str:
    """Return a range of moments, which can be open at one end."""
    first, last = (f"{clock(bound)}{zone}" if bound else "" for bound in (start, end))
    if start and end:
        return f"from {first} to {last}"
    return f"from {first}" if start else f"up to {last}"


def moment(value: datetime | None) -> str:
    """Return a moment in UTC, to the minute unless it has seconds worth saying."""
    return "–" if value is None else f"{clock(value)} UTC"


def clock(value: datetime) -> str:
    """Return what :func:`moment` does without the name of the zone."""
    utc = value.astimezone(timezone.utc)
    last_of_day = utc.second == 59 and utc.microsecond == 999999
    time = utc.time().isoformat("minutes" if last_of_day or not utc.second else "seconds")
    return f"{WEEKDAYS[utc.weekday()]} {utc.date().isoformat()} {time}"
