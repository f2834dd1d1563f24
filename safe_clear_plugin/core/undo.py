"""Undoing a clear: which task instances can be restored, which can't, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.problems import Problem


class Verdict(Code):
    """The decision of an undo on a task instance, with the reason."""

    PUT_BACK = "put_back"
    STARTED = "started"
    CLEARED_AGAIN = "cleared_again"
    GONE = "gone"
    WAS_PENDING = "was_pending"
    VERSION_GONE = "version_gone"
    MAY_BE_QUEUED = "may_be_queued"
    RUN_GOES_ON = "run_goes_on"


VERDICT_TEXT: Mapping[Verdict, str] = {
    Verdict.PUT_BACK: "can be restored",
    Verdict.STARTED: "queued, started or decided by the scheduler since",
    Verdict.CLEARED_AGAIN: "cleared or retried again since",
    Verdict.GONE: "deleted since, or expanded into mapped task instances",
    Verdict.WAS_PENDING: "handed to an executor, a trigger or a person before the clear",
    Verdict.VERSION_GONE: "its Dag version has been removed since",
    Verdict.RUN_GOES_ON: "its dag run continues",
    Verdict.MAY_BE_QUEUED: "scheduled since; SQLite can't stop the scheduler from queueing it",
}


class KeptRun(Code):
    """Why an undo lets a dag run continue instead of restoring its row."""

    DELETED = "deleted"
    NOT_RESET = "not_reset"
    CLEARED_AGAIN = "cleared_again"
    SOME_STAY = "some_stay"
    OTHERS_MOVED = "others_moved"
    FINISHED = "finished"
    VERSION_GONE = "version_gone"


KEPT_RUN_TEXT: Mapping[KeptRun, str] = {
    KeptRun.DELETED: "the dag run was deleted",
    KeptRun.NOT_RESET: "the clear left its state alone",
    KeptRun.CLEARED_AGAIN: "cleared again since",
    KeptRun.SOME_STAY: "some of its task instances can't be restored",
    KeptRun.OTHERS_MOVED: "its other task instances have changed",
    KeptRun.FINISHED: "it has finished since",
    KeptRun.VERSION_GONE: "its Dag version has been removed",
}

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
"""States, besides no state, that an undo can restore.

In the other states, the clear affected something outside the metadata DB: an executor may have used the try,
a trigger may be gone, or a process was killed.
"""


@dataclass(frozen=True, slots=True)
class RunChoice:
    """The cleared runs of an undo: the named runs, or all.

    ``part`` keeps only runs with this text in their id; ``without`` leaves runs out.
    """

    run_ids: tuple[str, ...] = ()
    part: str = ""
    without: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the database must be asked which runs match."""
        return bool(self.part or self.without)


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
    kept: KeptRun | None = None
    """Why it does not get its own row back; ``None`` if it does."""

    @property
    def why_kept(self) -> str:
        """The reason as text."""
        return KEPT_RUN_TEXT[self.kept] if self.kept else ""


@dataclass(frozen=True, slots=True)
class UndoStay:
    """A task instance that an undo leaves as it is."""

    run_id: str
    task_id: str
    map_index: int
    state_now: str | None
    verdict: Verdict
    rendered_map_index: str | None = None
    """The label that ``map_index_template`` makes of the map index."""

    @property
    def why(self) -> str:
        """The reason as text."""
        return VERDICT_TEXT[self.verdict]


@dataclass(frozen=True, slots=True)
class SchedulerChange:
    """Task instances of one task that the scheduler created, restored or removed because of the clear."""

    effect: Effect
    """As it is shown."""
    task_id: str
    count: int
    put_back: bool
    """Whether an undo takes it back."""


CHANGED_WORDS = {Effect.CREATE: "created", Effect.RESTORE: "restored", Effect.REMOVE: "marked Removed"}


def describe_changes(changes: Iterable[SchedulerChange]) -> str:
    """Say what the scheduler did: ``3 created (`c`, `d`), 1 marked Removed (`old`)``."""
    listed = list(changes)
    parts = []
    for effect, words in CHANGED_WORDS.items():
        found = [change for change in listed if change.effect == effect]
        tasks = sorted({f"`{change.task_id}`" for change in found})
        more = f" and {len(tasks) - MAX_TASKS:,} more tasks" if len(tasks) > MAX_TASKS else ""
        if found:
            number = sum(change.count for change in found)
            parts.append(f"{number:,} {words} ({', '.join(tasks[:MAX_TASKS])}{more})")
    return ", ".join(parts)


MAX_TASKS = 5
"""Tasks that a sentence names."""


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """The preview of an undo. ``runs`` and ``stays`` are the first of them, the numbers are of all."""

    task_instances: int
    put_back: int
    dag_runs: int
    whole_runs: int
    counts: tuple[UndoCount, ...] = ()
    runs: tuple[UndoRun, ...] = ()
    stays: tuple[UndoStay, ...] = ()
    scheduler_changes: tuple[SchedulerChange, ...] = ()
    problem: Problem | None = None

    @property
    def taken_back(self) -> str:
        """Changes of the scheduler because of the clear that are undone with their run."""
        return describe_changes(change for change in self.scheduler_changes if change.put_back)

    @property
    def not_taken_back(self) -> str:
        """Its changes that stay, since their run goes on."""
        return describe_changes(change for change in self.scheduler_changes if not change.put_back)

    @property
    def stay(self) -> int:
        """Task instances that stay as they are."""
        return self.task_instances - self.put_back

    @property
    def kept_runs(self) -> int:
        """Dag runs that do not get their own state back."""
        return self.dag_runs - self.whole_runs
