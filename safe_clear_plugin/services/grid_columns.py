"""The columns of a plan's grid: dag runs, or spans of time, and some runs of the DAG on each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import CTE
from sqlalchemy.orm import Session

from safe_clear_plugin.core.grid import time_buckets
from safe_clear_plugin.core.grid.model import Column, Level
from safe_clear_plugin.storage import grid_queries
from safe_clear_plugin.storage.grid_queries import Extent, Window

MAX_RUNS = 80
MAX_BINS = 92
NEIGHBOUR_RUNS = 3
"""Runs of the DAG that are shown on each side of the plan's, so that a wrong date is seen."""


def columns(
    level: Level, first_column: int, window: Window, whole: Extent, here: Extent, *, session: Session
) -> tuple[list[Column], int, CTE, Window]:
    """Return the columns, how many there are beyond the page of them, and the plan's runs in SQL."""
    if level == "run":
        first = first_column if first_column < here.runs else 0
        found, source = _run_columns(first, window, here, session)
        count, last = here.runs, first + MAX_RUNS >= here.runs
    else:
        starts = time_buckets.starts(here.first, here.last, level, 100 * MAX_BINS)
        first = first_column if first_column < len(starts) else 0
        shown = starts[first : first + MAX_BINS]
        window = _within(window, shown, here, level)
        found = [Column(n, start, time_buckets.next_start(start, level)) for n, start in enumerate(shown)]
        source = grid_queries.by_bin(window, shown)
        count, last = len(starts), first + MAX_BINS >= len(starts)
    before, after = grid_queries.neighbour_runs(window, here.first, here.last, session, each=NEIGHBOUR_RUNS)
    if first == 0 and here.first == whole.first:
        found = [_run_column(row, planned=False) for row in before] + found
    if last and here.last == whole.last:
        found += [_run_column(row, planned=False) for row in after]
    return found, count, source, window


def _within(window: Window, shown: Sequence[datetime], here: Extent, unit: time_buckets.Unit) -> Window:
    """Narrow the window to the shown columns where it reaches beyond them.

    A bound that says nothing is left out: the planner of a database takes it for one that leaves few runs.
    """
    end = time_buckets.next_start(shown[-1], unit)
    if here.first < shown[0]:
        window = replace(window, start=max(window.start or shown[0], shown[0]))
    if here.last >= end:
        window = replace(window, end=min(window.end or end, end))
    return window


def _run_columns(first: int, window: Window, here: Extent, session: Session) -> tuple[list[Column], CTE]:
    """Return a column for each of the plan's runs and, where there is room, for those that lie among them."""
    found = grid_queries.runs(window, session, offset=first, limit=MAX_RUNS)
    columns = [_run_column(row, planned=True) for row in found]
    if here.runs <= MAX_RUNS:
        room = MAX_RUNS - here.runs
        among = grid_queries.runs_between(window, here.first, here.last, session, limit=room + 1)
        if len(among) <= room:
            columns += [_run_column(row, planned=False) for row in among]
    columns.sort(key=lambda one: one.start)
    return columns, grid_queries.by_run(window, [row.run_id for row in found])


def _run_column(row: Any, *, planned: bool) -> Column:
    return Column(
        row.run_id, row.date, run_id=row.run_id, dated=row.logical_date is not None, planned=planned
    )
