"""The models of JSON answers about a clear and an undo."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.core.undo import Verdict
from safe_clear_plugin.web.api.answer_base import Answer
from safe_clear_plugin.web.api.wave_answers import WavesAnswer


class Discarded(Answer):
    """A draft that was removed."""

    discarded: str


class Clear(Answer):
    """The progress of a clear."""

    id: str
    status: PlanStatus
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    cleared_at: str | None
    retry_after: float = Field(
        default=0, description="Seconds after which to ask `progress.json` again; 0: it has ended."
    )


class Undo(Answer):
    """The progress of an undo: ``done`` are put back or stay, of the ``total`` asked for."""

    id: str
    status: PlanStatus
    under_way: bool
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    put_back: int
    stayed: int
    retry_after: float = Field(
        default=0, description="Seconds after which to ask `progress.json` again; 0: it has ended."
    )


class Driver(Answer):
    """The driver that works on the plan, if one does."""

    name: str | None
    working: bool


class Foreseen(Answer):
    """The number of task instances that came to their foreseen outcome, and those that came otherwise."""

    as_foreseen: int
    otherwise: int
    open: int = Field(description="They can still come to their outcome.")
    not_known: int = Field(description="The plan foresaw no outcome.")
    differences: list[tuple[str, str | None, int]] = Field(
        description="Ends not foreseen: outcome, state now and number; `missing` is the state of one that "
        "is not there."
    )


class Progress(Clear):
    """The progress of clear and undo and, unless one is in progress, the states of the re-runs."""

    interrupted: bool = Field(description="It is in progress, but no driver has worked on it for a minute.")
    driver: Driver
    waves: WavesAnswer | None = Field(description="null: all at once.")
    undo: Undo
    by_state: list[tuple[str | None, int]] | None
    finished: bool | None
    foreseen: Foreseen | None
    checked_at: str


class UndoCount(Answer):
    """The number of task instances with one verdict, one state before and one now."""

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
    rendered_map_index: str | None
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
    """The preview of an undo; ``dag_runs`` and ``stays`` are the first of them."""

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
        description="Changes of the scheduler because of the clear, and whether the undo takes them back."
    )
    problem: UndoProblem | None


class Paused(Answer):
    """A DAG that is paused now."""

    dag_id: str
    is_paused: Literal[True]
