"""The labels of the grid's columns, the headings above them, and their links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import cast
from urllib.parse import urlencode

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.formats import WEEKDAYS
from safe_clear_plugin.core.grid import time_buckets
from safe_clear_plugin.core.grid.model import Column, Level
from safe_clear_plugin.services.grid import Grid
from safe_clear_plugin.web.api.plan_urls import Address
from safe_clear_plugin.web.app import moments
from safe_clear_plugin.web.app.moments import MONTHS
from safe_clear_plugin.web.grid.view import ColumnView, Head

DENSE, ROOMY = 44, 32
"""More columns than the first are drawn as narrow as can be; fewer than the second have room for icons."""
WIDE = 20
"""Spans of time, at most, that are named in full."""

SHORT = 5
"""Columns from which on a head has room for more than a number."""

HEAD_UNITS: dict[str, tuple[time_buckets.Unit, ...]] = {
    "run": ("day", "month", "year"),
    "hour": ("day",),
    "day": ("month", "year"),
    "week": ("month", "year"),
    "month": ("year",),
    "year": (),
}
LEVEL_NAMES = {"hour": "By hour", "day": "By day", "week": "By week", "month": "By month", "year": "By year"}


def density(grid: Grid) -> str:
    """Return the class for how much room the columns have."""
    count = len(grid.columns)
    if grid.level != "run":
        return "bins tight" if count > WIDE else "bins"
    return "dense" if count > DENSE else "mid" if count > ROOMY else "roomy"


def head_unit(grid: Grid) -> time_buckets.Unit | None:
    """Choose the unit of the headings: the smallest one with a few columns for each heading."""
    units = HEAD_UNITS[grid.level]
    for unit in units:
        starts = {time_buckets.start_of(one.start, unit) for one in grid.columns}
        if len(starts) * 3 <= len(grid.columns) or (grid.level == "run" and len(starts) == 1):
            return unit
    return units[-1] if units else None


def heads(grid: Grid, unit: time_buckets.Unit | None, address: Address) -> Iterator[Head]:
    """Yield what stands over the columns, which need not be as many."""
    if unit is None:
        return
    stretch: list[Column] = []
    for one in grid.columns:
        if stretch and time_buckets.start_of(stretch[0].start, unit) != time_buckets.start_of(
            one.start, unit
        ):
            yield _head(stretch, unit, address)
            stretch = []
        stretch.append(one)
    if stretch:
        yield _head(stretch, unit, address)


def _head(columns: Sequence[Column], unit: time_buckets.Unit, address: Address) -> Head:
    start = time_buckets.start_of(columns[0].start, unit)
    runs = sum(one.runs for one in columns if one.planned)
    href = address.grid(**_span(start, time_buckets.next_start(start, unit))) if runs else ""
    text = str(start.day) if unit == "day" and len(columns) < SHORT else _name(start, unit)
    return Head(text, len(columns), runs, href)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"from": _short(start), "to": _short(end)}


def _short(when: datetime) -> str:
    return when.date().isoformat() if when.hour == 0 else when.isoformat(timespec="minutes")


def window_query(grid: Grid) -> dict[str, str]:
    """Return the window as the query has it; empty for the whole plan."""
    question = grid.question
    return {
        name: _short(when)
        for name, when in (("from", question.start), ("to", question.end))
        if when and grid.zoomed
    }


def _name(start: datetime, unit: time_buckets.Unit) -> str:
    if unit == "hour":
        return f"{start:%H}:00"
    if unit == "day":
        return f"{WEEKDAYS[start.weekday()]} {start.day} {MONTHS[start.month - 1]}"
    if unit == "week":
        return f"{start.day} {MONTHS[start.month - 1]}"
    return f"{MONTHS[start.month - 1]} {start.year}" if unit == "month" else str(start.year)


def column_view(column: Column, grid: Grid, unit: time_buckets.Unit | None, address: Address) -> ColumnView:
    """Name a column, say where it leads and what it asks of the table."""
    if column.run_id is not None:
        return _run_column(column, unit, address, roomy=len(grid.columns) <= ROOMY)
    level = cast(time_buckets.Unit, grid.level)
    assert column.end is not None
    few = len(grid.columns) <= WIDE
    start = column.start
    text = {
        "hour": f"{start:%H}",
        "day": f"{WEEKDAYS[start.weekday()]} {start.day}" if few else str(start.day),
        "week": f"{start.day} {MONTHS[start.month - 1]}" if few else str(start.day),
        "month": MONTHS[start.month - 1],
        "year": str(start.year),
    }[level]
    span = _span(start, column.end)
    name = {
        "hour": f"{_name(start, 'day')} {start:%Y %H}:00 UTC",
        "day": f"{_name(start, 'day')} {start.year}",
        "week": f"week of {_name(start, 'day')} {start.year}",
    }.get(level, _name(start, level))
    asked = urlencode({"run_from": span["from"], "run_to": span["to"]})
    href = address.grid(**span) if column.runs else ""
    return ColumnView(column, text, f"{name}, {formats.count(column.runs, 'run')}", href, asked)


def _run_column(
    column: Column, unit: time_buckets.Unit | None, address: Address, *, roomy: bool
) -> ColumnView:
    start = column.start.astimezone(timezone.utc)
    text = ""
    if roomy:
        text = str(start.day) if unit != "day" else f"{start:%H:%M}" if start.minute else f"{start:%H}"
        if unit == "year":
            text = f"{start.day} {MONTHS[start.month - 1]}"
    by = "" if column.dated else " (run after)"
    beside = "" if column.planned else ", not in the plan"
    label = f"{moments.when_weekday(start)}{by}, {column.run_id}{beside}"
    if not column.planned:
        return ColumnView(column, text, label, "", "")
    return ColumnView(
        column, text, label, address.only(run_id=column.run_id), urlencode({"run_id": column.run_id})
    )


def bands(columns: Sequence[Column]) -> Iterator[tuple[bool, int]]:
    """Yield how many columns in a row are of the plan, or beside it."""
    count, planned = 0, True
    for one in columns:
        if count and one.planned != planned:
            yield planned, count
            count = 0
        planned = one.planned
        count += 1
    if count:
        yield planned, count


def level_name(level: Level, grid: Grid) -> str:
    """Name a level as a choice."""
    if level != "run":
        return LEVEL_NAMES[level]
    if grid.here.runs == 1:
        return "1 run"
    return f"{'' if grid.zoomed else 'All '}{formats.count(grid.here.runs, 'run')}"


def window_title(grid: Grid) -> str:
    """Name the window: a day, a week, … or from its first to its last run."""
    start, end = grid.question.start, grid.question.end
    if start and end:
        for unit in time_buckets.UNITS:
            if time_buckets.start_of(start, unit) == start and time_buckets.next_start(start, unit) == end:
                prefix = {"hour": f"{_name(start, 'day')} ", "week": "week of "}.get(unit, "")
                return prefix + _name(start, unit) + (f" {start.year}" if unit in ("day", "week") else "")
    return moments.when_span(grid.here.first, grid.here.last)
