"""A change set: plans of several DAGs that are previewed, confirmed, driven and undone together."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus, fingerprint

MAX_DAGS = 50
"""DAGs in one set: they are previewed within the time of one preview, and claimed in one transaction."""


class ChosenBy(Code):
    """The way in which the DAGs of a change set were chosen."""

    DAG_IDS = "dag_ids"
    DAG_ID_REGEX = "dag_id_regex"
    TAGS = "tags"
    OWNERS = "owners"
    FAILED = "failed"
    """A task instance failed there in a window of time."""
    WAITING = "waiting"
    """They wait for the tasks of a plan."""


@dataclass(frozen=True, slots=True)
class LeftOutDag:
    """A DAG that the filter of the set matches, but that has no task instance to clear."""

    dag_id: str
    reason: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LeftOutDag:
        """Rebuild it from :meth:`to_json`."""
        return cls(values["dag_id"], values["reason"], values.get("remedy", ""))


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A stored change set, with its plans in the order in which they are cleared."""

    id: str
    made_from: Mapping[str, Any]
    """The request that made it, without its reason: how DAGs were chosen, and the fields of the selection."""
    left_out: tuple[LeftOutDag, ...]
    fingerprint: str
    created_by: str
    created_by_name: str
    created_at: datetime
    expires_at: datetime
    reason: str
    applied_by: str | None
    applied_by_name: str | None
    applied_at: datetime | None
    plans: tuple[PlanSummary, ...]

    @property
    def task_instances(self) -> int:
        """The number of task instances that its plans clear."""
        return sum(plan.task_instances for plan in self.plans)

    @property
    def run_on_latest_version(self) -> bool:
        """Whether runs of one of its plans move to the latest version of their DAG."""
        return any(plan.run_on_latest_version for plan in self.plans)

    @property
    def dag_runs(self) -> int:
        """The number of dag runs in which its plans clear."""
        return sum(plan.dag_runs for plan in self.plans)

    @property
    def cleared(self) -> int:
        """Task instances cleared so far, in ``cleared_runs`` dag runs."""
        return sum(plan.cleared for plan in self.plans)

    @property
    def cleared_runs(self) -> int:
        """Dag runs cleared so far."""
        return sum(plan.cleared_runs for plan in self.plans)

    @property
    def put_back(self) -> int:
        """Task instances restored by an undo.

        ``stayed`` counts the task instances of undone runs that could not be restored.
        """
        return sum(plan.put_back for plan in self.plans)

    @property
    def stayed(self) -> int:
        """Task instances of undone runs that could not be restored."""
        return sum(plan.stayed for plan in self.plans)

    @property
    def undone_runs(self) -> int:
        """Dag runs undone so far."""
        return sum(plan.undone_runs for plan in self.plans)

    @property
    def dag_ids(self) -> tuple[str, ...]:
        """The DAGs of its plans, in their order."""
        return tuple(plan.dag_id for plan in self.plans)

    @property
    def is_ready(self) -> bool:
        """Whether none of its plans has been claimed, declined or found out of date."""
        return all(plan.status == PlanStatus.READY for plan in self.plans)

    @property
    def is_applying(self) -> bool:
        """Whether one of its plans is being cleared, or waits for its turn."""
        return any(plan.status == PlanStatus.APPLYING for plan in self.plans)

    @property
    def is_undoing(self) -> bool:
        """Whether an undo of one of its plans is requested and not complete."""
        return any(plan.is_undoing for plan in self.plans)

    @property
    def is_under_way(self) -> bool:
        """Whether a driver has more to do with it, or waits for a person."""
        return self.is_applying or self.is_undoing

    @property
    def is_interrupted(self) -> bool:
        """Whether one of its plans has been due for a minute, and no driver works on it."""
        return any(plan.is_interrupted for plan in self.plans)

    @property
    def is_approval_asked(self) -> bool:
        """Whether its author asked for a second person."""
        return any(plan.approval_asked_at is not None for plan in self.plans)

    @property
    def waiting_plan(self) -> PlanSummary | None:
        """The plan whose waves go on only once a person has decided."""
        return next((plan for plan in self.plans if plan.is_waiting_for_person), None)

    @property
    def paced_plan(self) -> PlanSummary:
        """The plan that has the state of the set's waves: the plan whose turn it is, or else the last one."""
        return next((plan for plan in self.plans if plan.status == PlanStatus.APPLYING), self.plans[-1])

    @property
    def awaited_dag_id(self) -> str:
        """The DAG of the plan that its DAGs wait for, if they were chosen that way and the DAG is known."""
        if self.made_from["chosen_by"] != ChosenBy.WAITING:
            return ""
        return str(self.made_from["selection"]["dag_id"])

    @property
    def stopped_plan(self) -> PlanSummary | None:
        """The plan that stopped the others: the first one that stopped or is out of date."""
        ended = (PlanStatus.STOPPED, PlanStatus.STALE)
        return next((plan for plan in self.plans if plan.status in ended), None)

    def plan_of(self, dag_id: str) -> PlanSummary | None:
        """Return the plan of a DAG, if it is in the set."""
        return next((plan for plan in self.plans if plan.dag_id == dag_id), None)

    def is_author(self, actor_id: str) -> bool:
        """Whether the actor made the set."""
        return actor_id == self.created_by

    def shown_status(self, now: datetime) -> ShownStatus:
        """Return the status of the set at ``now``."""
        return status_of(self.plans, now)


STATUS_PRECEDENCE = (
    ShownStatus.STALE,
    ShownStatus.DECLINED,
    ShownStatus.EXPIRED,
    ShownStatus.WAITING,
    ShownStatus.READY,
    ShownStatus.INTERRUPTED,
    ShownStatus.APPLYING,
)
"""Statuses that a change set has as soon as one of its plans has them, the first that applies."""


def status_of(plans: Sequence[PlanSummary], now: datetime) -> ShownStatus:
    """Return the status of a change set at ``now``, from the statuses of its plans.

    The plans are claimed together. Until then, a plan that cannot be cleared decides the status of the set.
    After that, the set is in progress while one plan is, and has stopped if one plan has. It is undone once
    every plan that had cleared something is undone.

    :func:`~safe_clear_plugin.storage.plans.plan_status.shown_set_status` is the same in SQL.
    """
    shown = {plan.shown_status(now) for plan in plans}
    for status in STATUS_PRECEDENCE:
        if status in shown:
            return status
    cleared = [plan for plan in plans if plan.cleared_runs]
    if cleared and all(plan.status == PlanStatus.UNDONE for plan in cleared):
        return ShownStatus.UNDONE
    return ShownStatus.STOPPED if ShownStatus.STOPPED in shown else ShownStatus.APPLIED


def fingerprint_of(fingerprints: Iterable[str]) -> str:
    """Digest the contents of a change set: the digests of its plans, in their order."""
    return fingerprint(fingerprints)


def clearing_order(dag_ids: Iterable[str], waits_for: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the DAGs in the order in which they are cleared: by id, but each after the DAGs it waits for.

    If DAGs wait for each other in a circle, the first by id comes first.
    """
    left = {dag_id: set(waits_for.get(dag_id, ())) - {dag_id} for dag_id in dag_ids}
    awaited: dict[str, list[str]] = {}
    for dag_id, others in left.items():
        others.intersection_update(left)
        for other in others:
            awaited.setdefault(other, []).append(dag_id)
    ready = [dag_id for dag_id, others in left.items() if not others]
    heapq.heapify(ready)
    order: list[str] = []
    while left:
        dag_id = heapq.heappop(ready) if ready else min(left)
        if left.pop(dag_id, None) is None:
            continue
        order.append(dag_id)
        for waiting in awaited.get(dag_id, ()):
            if waiting in left:
                left[waiting].discard(dag_id)
                if not left[waiting]:
                    heapq.heappush(ready, waiting)
    return tuple(order)
