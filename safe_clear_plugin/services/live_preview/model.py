"""The values that the live preview returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from typing import Any

from safe_clear_plugin.airflow_api.dag import dag_state
from safe_clear_plugin.airflow_api.scheduling import missing_intervals
from safe_clear_plugin.airflow_api.selection import select_runs
from safe_clear_plugin.core import selection_counts
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.services.live_preview import task_tree_selection


@dataclass(frozen=True, slots=True)
class Added:
    """The task instances that one more direction would add to a selection."""

    total: int
    succeeded: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of task instances and dag runs that the selection takes."""

    found: selection_counts.Sum
    cleared_runs: int | None
    added: Mapping[str, Added | None]
    """By form field what ticking it would add; ``None`` where that is not counted."""


@dataclass
class SelectionPreview:
    """All that is known about a selection so far; what cannot be said yet, or not in time, stays empty."""

    now: datetime
    dag: dag_state.DagState | None = None
    tree: task_tree_selection.Tree | None = None
    partition_zone: tzinfo = timezone.utc
    """The zone of the clock on which the DAG's timetable reads partition dates."""
    scope: select_runs.Scope | None = None
    dag_runs: int | None = None
    first: Any = None
    last: Any = None
    undated: int = 0
    missing: missing_intervals.MissingIntervals | None = None
    since: tuple[datetime | None, datetime | None] = (None, None)
    counts: Counts | None = None
    not_counted: str = ""
    """Why there are no counts of task instances."""
    problems: list[Problem] = field(default_factory=list)
