"""A range of dates in words: its clocks, its length, its age, and the ruler that shows where it lies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from safe_clear_plugin.core.dates import clock_change, parse_moment, parse_typed
from safe_clear_plugin.core.formats import WEEKDAYS, count, span
from safe_clear_plugin.web.app import date_ruler, moments

MONTHS = moments.MONTHS
OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, slots=True)
class Clock:
    """The range as one time zone writes it."""

    zone: str
    whose: str
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """A date range; either end may be open."""

    start: datetime | None
    end: datetime | None
    zone: tzinfo
    """The zone whose days are said; ``whose`` it is, and by which ``name`` it is known."""
    zone_name: str = "UTC"
    whose: str = "chosen"

    def headline(self, now: datetime) -> str:
        """Say the days, how many they are, and how long ago that was, in the zone that was chosen."""
        if self.start is None and self.end is None:
            return "All dates"
        if self.start is None or self.end is None:
            moment = self.start or self.end
            assert moment is not None
            day = day_text(_local(moment, self.zone).date())
            return f"From {day}" if self.start else f"Up to {day}"
        return ", ".join([*self._days_and_length(), self._age(now)])

    def _days_and_length(self) -> list[str]:
        assert self.start is not None
        assert self.end is not None
        first, last = _local(self.start, self.zone), _local(self.end, self.zone)
        days = day_text(last.date())
        if first.date() != last.date():
            days = f"{day_text(first.date(), year=first.year != last.year)} to {days}"
        if first.time() == time.min and _is_last_of_day(last):
            return [days, count((last.date() - first.date()).days + 1, "full day")]
        return [days, span((self.end - self.start).total_seconds())]

    def _age(self, now: datetime) -> str:
        assert self.start is not None
        assert self.end is not None
        if self.end < now:
            return f"ended {moments.ago(self.end, now)}"
        if self.start > now:
            return f"begins {moments.ago(self.start, now)}"
        return f"ends {moments.ago(self.end, now)}"

    def clocks(self, dag_zone: str, browser_zone: str) -> list[Clock]:
        """Write the range in UTC and in the zones of the DAG, the browser and the form, each zone once."""
        whose: dict[str, list[str]] = {"UTC": []}
        for name, owner in (
            (dag_zone, "the Dag's time zone"),
            (browser_zone, "yours"),
            (self.zone_name, self.whose),
        ):
            if name:
                whose.setdefault(name, []).append(owner)
        whose["UTC"] = [owner for owner in whose["UTC"] if owner != "chosen"]
        return [
            Clock(name, " and ".join(owners), self._text(zone))
            for name, owners in whose.items()
            if (zone := zone_named(name))
        ]

    def _text(self, zone: tzinfo) -> str:
        start = _moment(self.start, zone) if self.start else ""
        end = _moment(self.end, zone) if self.end else ""
        if start and end:
            return f"{start} to {end}"
        return f"from {start}" if start else f"up to {end}" if end else "no bounds"

    def ruler(self, first: datetime | None, last: datetime | None, now: datetime) -> list[date_ruler.Day]:
        """Return the ruler's days, those of the range marked; an open end is where the dag runs end."""
        start, end = self.start or first, self.end or last
        if start is None or end is None or start > end:
            return []
        shown = date_ruler.ruler_around(start, end, now)
        days = {_local(start, timezone.utc).date(), _local(end, timezone.utc).date()}
        inside = [day for day in shown if min(days) <= day <= max(days)]
        return date_ruler.day_ruler(shown, inside, now)


def read_as(label: str, text: str, zone: ZoneInfo, *, end: bool) -> str:
    """Say how a time was read that a clock change shows twice, or leaves out; nothing of any other."""
    change = clock_change(text, zone)
    if change is None:
        return ""
    wall = parse_typed(text).wall
    moment = parse_moment(text, zone, end=end)
    at, utc = wall.time().isoformat("minutes"), f"{moment:%H:%M} UTC"
    where = f"{zone.key} on {day_text(wall.date())}"
    if change == "twice":
        which = "later" if end else "earlier"
        return f"Clocks go back in {where}: {at} is there twice. “{label}” is the {which} one, {utc}."
    local = moment.astimezone(zone).time().isoformat("minutes")
    return f"Clocks go forward in {where}: there is no {at}. “{label}” is {local}, {utc}."


def day_text(day: date, *, year: bool = True) -> str:
    """Write a day as ``Tue 3 Nov 2026``."""
    text = f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}"
    return f"{text} {day.year}" if year else text


def known_zones(names: Iterable[str], known: frozenset[str]) -> list[str]:
    """Return the names, an empty one in place of each that is no time zone."""
    return [name if name in known else "" for name in names]


def zone_named(name: str) -> tzinfo | None:
    """Return a time zone by its name or, as a DAG may have it, by its offset: ``+05:30``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return timezone(_offset(name)) if OFFSET.fullmatch(name) else None


def zone_name(zone: tzinfo) -> str:
    """Return the name of a time zone, or its offset where it has none, as :func:`zone_named` takes it."""
    name = getattr(zone, "key", None)
    if name is None:
        minutes = int((zone.utcoffset(None) or timedelta(0)).total_seconds() // 60)
        sign, (hours, minutes) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
        name = f"{sign}{hours:02}:{minutes:02}" if hours or minutes else "UTC"
    return str(name)


def on_clock(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clock of a zone shows, as if that were UTC."""
    return _local(moment, zone).replace(tzinfo=timezone.utc)


def _offset(name: str) -> timedelta:
    hours, minutes = name[1:].split(":")
    size = timedelta(hours=int(hours), minutes=int(minutes))
    return -size if name[0] == "-" else size


def _moment(moment: datetime, zone: tzinfo) -> str:
    local = _local(moment, zone)
    clock = local.time().isoformat("minutes" if _is_last_of_minute(local) or not local.second else "seconds")
    return f"{WEEKDAYS[local.weekday()]} {local.date().isoformat()} {clock}"


def _local(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _is_last_of_minute(moment: datetime) -> bool:
    return moment.second == 59 and moment.microsecond == 999999


def _is_last_of_day(moment: datetime) -> bool:
    return moment.time() >= (datetime.combine(moment.date(), time.max) - timedelta(milliseconds=1)).time()
