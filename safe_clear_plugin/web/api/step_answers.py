"""The models of JSON answers about a clear and an undo."""

from __future__ import annotations

from pydantic import Field

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.core.undo import Verdict
from safe_clear_plugin.web.api.answers import Answer


class Clear(Answer):
    """How far a clear has come."""

    id: str
    status: PlanStatus
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    cleared_at: str | None
    retry_after: float = Field(default=0, description="Seconds after which to ask for the next batch.")


class Undo(Answer):
    """How far an undo has come: ``done`` are put back or stay, of the ``total`` asked for."""

    id: str
    status: PlanStatus
    under_way: bool
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    put_back: int
    stayed: int
    retry_after: float = Field(default=0, description="Seconds after which to ask for the next batch.")


class Progress(Clear):
    """How far clear and undo are and, unless one is under way, how the task instances re-run."""

    interrupted: bool
    undo: Undo
    by_state: list[tuple[str | None, int]] | None
    finished: bool | None
    checked_at: str


class UndoCount(Answer):
    """How many task instances have one verdict, one state before and one now."""

    verdict: Verdict
    before: str | None
    now: str | None
    count: int


class UndoRun(Answer):
    """A dag run of an undo."""

    run_id: str
    logical_date: str | None
    put_back: int
    stay: int
    state_now: str | None
    state_back: str | None
    why_kept: str


class Stay(Answer):
    """A task instance that an undo leaves as it is."""

    run_id: str
    task_id: str
    map_index: int
    state_now: str | None
    why: str


class SchedulerChange(Answer):
    """Task instances of one task that the scheduler created, restored or removed because of the clear."""

    effect: Effect
    task_id: str
    count: int
    put_back: bool


class UndoProblem(Answer):
    """Why there is nothing to undo."""

    reason: str
    remedy: str


class UndoPreview(Answer):
    """What an undo would do; ``dag_runs`` and ``stays`` are the first of them."""

    cleared_runs: int
    task_instances: int
    put_back: int
    stay: int
    counts: list[UndoCount]
    dag_runs_total: int
    whole_dag_runs: int
    dag_runs: list[UndoRun]
    stays: list[Stay]
    scheduler_changes: list[SchedulerChange] = Field(
        description="What the scheduler did because of the clear, and whether the undo takes it back."
    )
    problem: UndoProblem | None
