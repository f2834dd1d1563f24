"""DAGs with failures in a time range, as the start page and its JSON list them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from safe_clear_plugin.core.selection import Selection

DAYS = 7
WEEK = timedelta(days=DAYS)
"""The time before the end of the window in which the failures of a DAG are counted."""

FailedState = Literal["failed", "upstream_failed", "failed_run"]
"""Task instances in one of the states, or a dag run that failed itself."""


@dataclass(frozen=True, slots=True)
class FailedFilter:
    """The time range, both ends included, and the filters on DAGs; an empty filter matches all of them.

    A DAG matches ``tags`` or ``owners`` if it has one of them.
    """

    since: datetime
    until: datetime
    dag_id_regex: str = ""
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    state: FailedState | Literal[""] = ""

    def selection(self, dag_id: str) -> Selection:
        """Return the selection of a DAG's failures, everything downstream of them, setups and teardowns."""
        return Selection(
            dag_id,
            failed_from=self.since,
            failed_to=self.until,
            include_downstream=True,
            include_setups=True,
        )


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task instance that failed; ``label`` is what its ``map_index_template`` makes of the map index."""

    task_id: str
    map_index: int
    run_id: str
    state: str
    ended_at: datetime
    label: str | None = None


@dataclass(frozen=True, slots=True)
class FailedDag:
    """The failures of a DAG in the time range.

    ``since`` is the first end of a failed task instance. If there is none, it is the first end of an
    upstream_failed one, or else of a dag run. ``last`` is the last end.
    """

    dag_id: str
    is_paused: bool
    is_stale: bool
    owners: tuple[str, ...]
    since: datetime
    last: datetime
    failed: int = 0
    upstream_failed: int = 0
    dag_runs: int = 0
    """Dag runs with a task instance that failed in this time."""
    failed_dag_runs: int = 0
    """Dag runs that failed themselves in this time, regardless of their task instances."""
    by_day: tuple[int, ...] = (0,) * DAYS
    """Dag runs by the day of the last failure in them, the day that ends with the time last."""
    tags: tuple[str, ...] = ()
    first: FailedTask | None = None
    may_clear: bool = False

    @property
    def task_instances(self) -> int:
        """Task instances that failed in this time."""
        return self.failed + self.upstream_failed

    @property
    def this_week(self) -> int:
        """Dag runs in which something failed in the week that ends with the time."""
        return sum(self.by_day)

    @property
    def can_preview(self) -> bool:
        """Whether the caller may clear at least one of the listed DAGs."""
        return self.may_clear and self.task_instances > 0

    def has(self, state: FailedState | Literal[""]) -> bool:
        """Whether there is a failure in this state, or in any state if none is given."""
        numbers = {
            "failed": self.failed,
            "upstream_failed": self.upstream_failed,
            "failed_run": self.failed_dag_runs,
        }
        return not state or numbers[state] > 0


@dataclass(frozen=True, slots=True)
class FailedDags:
    """A page of the DAGs that a user may see, the latest failure first, and totals of all of them."""

    dags: list[FailedDag]
    total: int
    task_instances: int
    dag_runs: int
    offset: int
    complete: bool
    """Whether there was time to ask for the rights on every DAG."""
