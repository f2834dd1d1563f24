"""The ruler of days that shows where the runs of a plan lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from safe_clear_plugin.core.formats import WEEKDAYS
from safe_clear_plugin.core.planned_rows import PlannedRun, run_date
from safe_clear_plugin.web.app.moments import MONTHS, utc

RULER_DAYS = 14


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the ruler that shows where the planned runs lie."""

    day: date
    planned: bool
    today: bool
    gap: bool
    """Whether days are left out between the day before and this one."""
    opens: bool
    """Whether the month is to be named here: the first day, after a gap, the first of a month."""

    @property
    def weekday(self) -> str:
        """Return the short name of the weekday."""
        return WEEKDAYS[self.day.weekday()]

    @property
    def note(self) -> str:
        """Return what stands under the day: ``today``, or its month where that is news."""
        if self.today:
            return "today"
        return MONTHS[self.day.month - 1] if self.opens else ""


def ruler_days(first: PlannedRun, last: PlannedRun, now: datetime) -> list[date]:
    """Return the days that the ruler shows for planned runs."""
    return ruler_around(run_date(first), run_date(last), now)


def ruler_around(first: datetime, last: datetime, now: datetime) -> list[date]:
    """Return the days that the ruler shows: the last ones or, for older ones, those around both ends."""
    start, end = sorted((utc(first).date(), utc(last).date()))
    today = utc(now).date()
    shown = {today - timedelta(days=n) for n in range(RULER_DAYS)}
    if start not in shown or end not in shown:
        inside = {start + timedelta(days=n) for n in range(min((end - start).days + 1, 5))}
        tail = {end - timedelta(days=n) for n in range(min((end - start).days + 1, 5))}
        shown = {today - timedelta(days=1), today, *inside, *tail}
    return sorted(shown)


def day_ruler(shown: Sequence[date], planned: Collection[date], now: datetime) -> list[Day]:
    """Return the shown days with those that have a planned run marked, so that a wrong date is seen."""
    today = utc(now).date()
    days: list[Day] = []
    for day in shown:
        gap = bool(days) and day - days[-1].day > timedelta(days=1)
        days.append(Day(day, day in planned, day == today, gap, gap or not days or day.day == 1))
    return days
