"""A plan: what would be cleared, frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.outcomes import Outcome, RunOutcome
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import LeftOutRuns, StopReason


class PlanStatus(Code):
    """How a plan stands."""

    READY = "ready"
    """It can be confirmed until it expires."""
    DECLINED = "declined"
    """By a second person, or withdrawn by its author."""
    APPLYING = "applying"
    """Not all of its runs are cleared yet."""
    APPLIED = "applied"
    STOPPED = "stopped"
    """Some of its runs are cleared; it can be resumed."""
    STALE = "stale"
    """It drifted before anything was cleared."""
    UNDONE = "undone"
    """All of its runs are restored, as far as that was possible."""


class ShownStatus(Code):
    """How a plan stands at one moment, as lists and programs show it (:meth:`PlanSummary.shown_status`)."""

    READY = "ready"
    WAITING = "waiting"
    """Ready, and its author requested approval."""
    EXPIRED = "expired"
    """Ready, but it can no longer be confirmed."""
    DECLINED = "declined"
    APPLYING = "applying"
    STOPPED = "stopped"
    """Also a clear that was interrupted: nobody sent the next batch."""
    STALE = "stale"
    APPLIED = "applied"
    UNDONE = "undone"


HEARTBEAT_TIMEOUT = timedelta(seconds=15)
"""A clear that has committed nothing for so long counts as interrupted."""


class TeamDag(NamedTuple):
    """A DAG, and the team that it counts as belonging to once Airflow does not know it any more."""

    dag_id: str
    team_name: str | None = None


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A stored plan without its rows."""

    id: str
    status: PlanStatus
    dag_id: str
    selection: Selection
    run_on_latest_version: bool
    dag_versions: tuple[Mapping[str, Any], ...]
    """The DAG versions that its runs use, as :meth:`Version.to_json` wrote them."""
    fingerprint: str
    created_by: str
    created_by_name: str
    created_at: datetime
    expires_at: datetime
    task_instances: int
    dag_runs: int
    findings: tuple[Finding, ...] = ()
    findings_not_checked: tuple[str, ...] = ()
    """The codes of the checks that did not finish in time: what they would have found is not known."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """How many task instances come to each :class:`~safe_clear_plugin.core.outcomes.Outcome`."""
    reason: str = ""
    applied_by: str | None = None
    applied_by_name: str | None = None
    applied_at: datetime | None = None
    finished_at: datetime | None = None
    stop_reason: StopReason | None = None
    """What stopped it."""
    left_out: LeftOutRuns | None = None
    """What its undo left out."""
    last_step_at: datetime | None = None
    batches: int = 0
    cleared: int = 0
    """Task instances cleared so far, in ``cleared_runs`` dag runs."""
    cleared_runs: int = 0
    put_back: int = 0
    """Task instances put back by an undo; ``stayed`` are those of undone runs that could not be."""
    stayed: int = 0
    undo_asked_runs: int = 0
    """Dag runs that somebody asked to undo; ``undone_runs`` of them are done."""
    undone_runs: int = 0
    airflow_version: str | None = None
    estimate: Estimate | None = None
    acknowledged: tuple[str, ...] = ()
    """The codes of the acknowledged findings."""
    approval_asked_at: datetime | None = None
    approved_by: str | None = None
    """Who applied it in place of its author, where a second person had to."""
    approved_by_name: str | None = None
    declined_by: str | None = None
    """Who declined it, or its author, who withdrew it."""
    declined_by_name: str | None = None
    declined_at: datetime | None = None
    decline_reason: str = ""
    team_name: str | None = None
    """The team that the DAG belonged to when the plan was made, where Airflow runs for several."""

    @property
    def dag(self) -> TeamDag:
        """The DAG that the plan is of."""
        return TeamDag(self.dag_id, self.team_name)

    @property
    def is_undoing(self) -> bool:
        """Whether an undo was requested and is not complete."""
        return self.undo_asked_runs > self.undone_runs

    @property
    def is_undone(self) -> bool:
        """Whether any of it has been undone."""
        return self.undone_runs > 0

    @property
    def is_withdrawn(self) -> bool:
        """Whether its author declined it."""
        return self.status == PlanStatus.DECLINED and self.declined_by == self.created_by

    def is_author(self, actor_id: str) -> bool:
        """Whether the actor made the plan: above a limit somebody else must apply it."""
        return actor_id == self.created_by

    def reason_for_author(self, actor_id: str) -> str:
        """Return the reason if the actor wrote it: nobody confirms with another's words."""
        return self.reason if self.is_author(actor_id) else ""

    def is_interrupted(self, now: datetime) -> bool:
        """Whether the clear was under way and nobody sends its batches any more.

        The tab was closed, the connection lost, or the server killed.
        """
        return self.status == PlanStatus.APPLYING and (
            self.last_step_at is None or now - self.last_step_at >= HEARTBEAT_TIMEOUT
        )

    def is_expired(self, now: datetime) -> bool:
        """Whether the plan can no longer be confirmed at ``now``."""
        return self.status == PlanStatus.READY and now >= self.expires_at

    def is_waiting_for_approval(self, now: datetime) -> bool:
        """Whether its author requested approval, and a second person can still give it."""
        return (
            self.status == PlanStatus.READY
            and self.approval_asked_at is not None
            and not self.is_expired(now)
        )

    def shown_status(self, now: datetime) -> ShownStatus:
        """Return how the plan stands at ``now``.

        :func:`~safe_clear_plugin.storage.plans.plan_status.shown_status` says the same in SQL.
        """
        if self.is_expired(now):
            return ShownStatus.EXPIRED
        if self.is_waiting_for_approval(now):
            return ShownStatus.WAITING
        return ShownStatus.STOPPED if self.is_interrupted(now) else ShownStatus(self.status)


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


@dataclass(frozen=True, slots=True)
class StateChange:
    """``count`` task instances (or dag runs) go from one state to another."""

    before: str | None
    after: str | None
    effect: Effect
    count: int


def fingerprint(*parts: Iterable[object]) -> str:
    """Digest what a plan promises into 64 hexadecimal digits; order and every value count.

    Its rows are written once, under an id of its own, so that their counts stand for them here.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr([str(value) for value in part]).encode())
    return digest.hexdigest()
