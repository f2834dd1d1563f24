"""The time from an awaited run to the sensor's own run, as people type it: ``1h``, ``-30m``, ``3600``."""

from __future__ import annotations

import re
from datetime import timedelta

from safe_clear_plugin.core import formats

MAX_SECONDS = 10 * 366 * 86_400
SAME_DATE = "same logical date"
UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400),
}
SECONDS = re.compile(r"[0-9]{1,10}")
PART = re.compile(r"([0-9]{1,10}) ?([a-z]+)")
PARTS = re.compile(r"[0-9]{1,10} ?[a-z]+(?: ?[0-9]{1,10} ?[a-z]+)*")


def read_time_difference(text: str) -> timedelta | None:
    """Read a duration with units, or a number of seconds; negative for earlier.

    ``same logical date`` is 0. Return ``None`` if the text is something else, or longer than ten years.
    """
    words = " ".join(text.lower().split())
    if words in ("same", SAME_DATE):
        return timedelta()
    number = words.lstrip("+-").lstrip()
    sign = words[: len(words) - len(number)].strip()
    if sign not in ("", "+", "-"):
        return None
    seconds = _seconds(number)
    if seconds is None or seconds > MAX_SECONDS:
        return None
    return timedelta(seconds=-seconds if sign == "-" else seconds)


def _seconds(text: str) -> int | None:
    if SECONDS.fullmatch(text):
        return int(text)
    if not PARTS.fullmatch(text):
        return None
    found = [(int(number), UNITS.get(unit)) for number, unit in PART.findall(text)]
    if any(unit is None for _, unit in found):
        return None
    return sum(number * (unit or 0) for number, unit in found)


def write_time_difference(delta: timedelta) -> str:
    """Write how long after something else: ``same logical date``, ``1 h after``, ``2 days before``."""
    if not delta:
        return SAME_DATE
    return f"{formats.exact(delta)} {'after' if delta > timedelta() else 'before'}"
