"""The dag runs and task instances of a plan, as it saw them and as they will be after the clear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.outcomes import Outcome, RunOutcome


class HasRunDate(Protocol):
    """A dag run, or a row that has the dates of one."""

    @property
    def logical_date(self) -> datetime | None:
        """The start of the data interval; a run may have none."""

    @property
    def run_after(self) -> datetime:
        """The earliest moment at which the run could start."""


def run_date(run: HasRunDate) -> datetime:
    """Return the date that a dag run goes by, as ``storage.rows.run_date`` does in SQL."""
    return run.logical_date or run.run_after


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A dag run as the plan saw it, and as it will be right after the clear."""

    run_id: str
    logical_date: datetime | None
    run_after: datetime
    run_type: str
    state: str | None
    after_state: str | None
    task_instances: int
    applied_at: datetime | None = None
    batch: int | None = None
    """The number of the batch that cleared it; ``undo_batch`` of the one that undid it."""
    undone_at: datetime | None = None
    undo_batch: int | None = None
    put_back: bool | None = None
    """Whether the undo gave the run its own state back, or left it to go on."""
    outcome: RunOutcome | None = None
    outcome_reason: str | None = None
    partition_key: str | None = None
    partition_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlannedTaskInstance:
    """A task instance as the plan saw it, and as it will be right after the clear.

    ``id`` and ``try_number`` are ``None`` for one that the clear makes Airflow create.
    """

    run_id: str
    task_id: str
    map_index: int
    id: str | None
    state: str | None
    try_number: int | None
    effect: Effect
    after_state: str | None
    after_max_tries: int | None
    why: str
    outcome: Outcome | None = None
    outcome_reason: str | None = None
    rendered_map_index: str | None = None
    """The label that ``map_index_template`` makes of the map index."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """``count`` task instances (or dag runs) go from one state to another."""

    before: str | None
    after: str | None
    effect: Effect
    count: int
