"""Dates as people say them, such as ``23 Nov``, ``yesterday 02:00`` or ``-3d``, written as dates."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone

from safe_clear_plugin.core.time_window import CLOCK, NOW, RELATIVE, UNITS

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS_AGO = {"today": 0, "yesterday": 1}
DAY_MONTH = re.compile(r"(?P<day>\d{1,2})\.? (?P<month>[a-z]{3,9})(?: (?P<year>\d{4}))?", re.ASCII)
MONTH_DAY = re.compile(r"(?P<month>[a-z]{3,9}) (?P<day>\d{1,2})(?:,? (?P<year>\d{4}))?", re.ASCII)
FULL_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip


def as_date(text: str, now: datetime) -> str:
    """Return what was said as a date, or a date and time; any other text is returned as it is.

    A day without a year is the last one that has begun. ``now`` has the time zone in which days are meant.
    """
    said = " ".join(text.lower().split())
    try:
        return _moment(said, now) or _day_and_clock(said, now) or text
    except (ValueError, OverflowError):
        return text


def _moment(said: str, now: datetime) -> str:
    if said == NOW:
        return now.isoformat(" ", "seconds")
    if found := RELATIVE.fullmatch(said):
        # In UTC: in a zone of its own, Python counts hours on the wall, across clock changes too.
        moment = now.astimezone(timezone.utc) - int(found["number"]) * UNITS[found["unit"]]
        return moment.astimezone(now.tzinfo).isoformat(" ", "seconds")
    return ""


def _day_and_clock(said: str, now: datetime) -> str:
    head, _, tail = said.rpartition(" ")
    clock = CLOCK.fullmatch(tail)
    day = _day(head if clock else said, now.date())
    if day is None:
        return ""
    if clock is None:
        return day.isoformat()
    return f"{day.isoformat()} {time(int(clock['hour']), int(clock['minute'])).isoformat('minutes')}"


def _day(said: str, today: date) -> date | None:
    if said in DAYS_AGO:
        return today - timedelta(days=DAYS_AGO[said])
    found = DAY_MONTH.fullmatch(said) or MONTH_DAY.fullmatch(said)
    month = _month(found["month"]) if found else None
    if found is None or month is None:
        return None
    if found["year"]:
        return date(int(found["year"]), month, int(found["day"]))
    return _last(int(found["day"]), month, today)


def _month(name: str) -> int | None:
    if name in FULL_MONTHS:
        return FULL_MONTHS.index(name) + 1
    return MONTHS.index(name) + 1 if name in MONTHS else None


def _last(day: int, month: int, today: date) -> date:
    """Return the last such day that is not after today; 29 February is not in every year."""
    for year in range(today.year, today.year - 9, -1):
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found <= today:
            return found
    raise ValueError(f"no such day: {day} of month {month}")
