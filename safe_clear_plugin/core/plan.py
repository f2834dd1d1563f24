"""A plan: the stored preview of a clear."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import LeftOutRuns, StopReason
from safe_clear_plugin.core.waves import WaveReason, Waves, WaveState


class PlanStatus(Code):
    """The status of a plan."""

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
    """The status of a plan at one moment, for lists and programs (:meth:`PlanSummary.shown_status`)."""

    READY = "ready"
    WAITING = "waiting"
    """Ready, and its author requested approval."""
    EXPIRED = "expired"
    """Ready, but it can no longer be confirmed."""
    DECLINED = "declined"
    APPLYING = "applying"
    INTERRUPTED = "interrupted"
    """It is being cleared, and no driver runs that does it."""
    STOPPED = "stopped"
    STALE = "stale"
    APPLIED = "applied"
    UNDONE = "undone"


class TeamDag(NamedTuple):
    """A DAG, and the team that it belongs to if Airflow no longer has the DAG."""

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
    """The number of task instances by :class:`~safe_clear_plugin.core.outcomes.Outcome`."""
    reason: str = ""
    applied_by: str | None = None
    applied_by_name: str | None = None
    applied_at: datetime | None = None
    finished_at: datetime | None = None
    stop_reason: StopReason | None = None
    """The reason why it stopped."""
    left_out: LeftOutRuns | None = None
    """The runs that its undo left out."""
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
    """The user who applied it in place of its author, where a second person had to."""
    approved_by_name: str | None = None
    declined_by: str | None = None
    """The user who declined it, or its author, who withdrew it."""
    declined_by_name: str | None = None
    declined_at: datetime | None = None
    decline_reason: str = ""
    team_name: str | None = None
    """The team that the DAG belonged to when the plan was made, where Airflow runs for several."""
    requested_by: str | None = None
    """The user for whom a driver clears or undoes it; ``request_reason`` is their reason."""
    requested_by_name: str | None = None
    request_reason: str = ""
    waves: Waves | None = None
    """The waves of its clear; ``None`` is all at once."""
    wave_state: WaveState | None = None
    """The last decision, while it is being cleared."""
    wave_reason: WaveReason | None = None
    change_set_id: str | None = None
    """The change set that it is confirmed with, and its place in the order there, from 0."""
    position: int = 0
    is_interrupted: bool = False
    """Whether it was in progress when it was read, and no driver had worked on it for a minute."""

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
    def has_runs_to_undo(self) -> bool:
        """Whether it cleared dag runs that have not been undone."""
        return self.cleared_runs > self.undone_runs

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

    @property
    def is_waiting_for_person(self) -> bool:
        """Whether its waves go on only once somebody has decided."""
        return self.status == PlanStatus.APPLYING and self.wave_state is WaveState.WAITING_FOR_PERSON

    @property
    def goes_in_waves(self) -> bool:
        """Whether it is cleared in waves, or waits for a person who is to go on all at once."""
        return self.waves is not None or self.is_waiting_for_person

    @property
    def requester(self) -> Actor:
        """The user in whose name a driver clears or undoes."""
        return Actor(self.requested_by or "", self.requested_by_name or "")

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
        if self.is_interrupted and self.status == PlanStatus.APPLYING:
            return ShownStatus.INTERRUPTED
        return ShownStatus(self.status)


def fingerprint(*parts: Iterable[object]) -> str:
    """Digest what a plan promises into 64 hexadecimal digits; order and every value count.

    Its rows are written once, under an id of its own, so that their counts stand for them here.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr([str(value) for value in part]).encode())
    return digest.hexdigest()
