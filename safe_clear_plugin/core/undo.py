"""Undoing a clear: what can be put back, what stays, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from safe_clear_plugin.core.problems import Problem

Verdict = Literal[
    "put_back", "started", "cleared_again", "gone", "was_pending", "version_gone", "may_be_queued"
]

VERDICT_WORDS: dict[Verdict, str] = {
    "put_back": "can be put back",
    "started": "queued, started or decided since the clear",
    "cleared_again": "cleared or retried again since",
    "gone": "deleted since, or expanded into mapped task instances",
    "was_pending": "was with an executor, a trigger or a person when it was cleared",
    "version_gone": "its DAG version has been removed since",
    "may_be_queued": "scheduled since, and SQLite has no lock that keeps the scheduler from queueing it",
}
"""Why a task instance is put back or stays."""

RESTORABLE_STATES = (
    "success",
    "failed",
    "upstream_failed",
    "skipped",
    "removed",
    "up_for_retry",
    "up_for_reschedule",
    "scheduled",
)
"""States, beside none at all, that a task instance can be put back to.

In the others something outside the metadata DB was at work: an executor that may have spent the try, a
trigger that may be gone, a process that was killed.
"""


@dataclass(frozen=True, slots=True)
class UndoCount:
    """``count`` task instances with one verdict, one state before the clear and one state now."""

    verdict: Verdict
    before: str | None
    now: str | None
    count: int


@dataclass(frozen=True, slots=True)
class UndoRun:
    """A dag run of the undo; ``state_back`` is its own state from before, if it gets that back."""

    run_id: str
    logical_date: datetime | None
    run_after: datetime
    run_type: str
    put_back: int
    stay: int
    whole: bool
    state_now: str | None
    state_back: str | None
    why_kept: str


@dataclass(frozen=True, slots=True)
class UndoStay:
    """A task instance that an undo leaves as it is."""

    run_id: str
    task_id: str
    map_index: int
    state_now: str | None
    why: str


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """What an undo would do now. ``runs`` and ``stays`` are the first of them, the numbers are of all."""

    task_instances: int
    put_back: int
    dag_runs: int
    whole_runs: int
    counts: tuple[UndoCount, ...] = ()
    runs: tuple[UndoRun, ...] = ()
    stays: tuple[UndoStay, ...] = ()
    problem: Problem | None = None

    @property
    def stay(self) -> int:
        """Task instances that stay as they are."""
        return self.task_instances - self.put_back

    @property
    def kept_runs(self) -> int:
        """Dag runs that do not get their own state back."""
        return self.dag_runs - self.whole_runs
