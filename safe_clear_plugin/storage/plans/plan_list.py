"""What was planned, cleared and undone: the list of plans, the batches of one, and who else was there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, false, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.plan import HEARTBEAT_TIMEOUT, PlanSummary, TeamDag
from safe_clear_plugin.storage.plans.plan_reader import summary
from safe_clear_plugin.storage.tables import plan, plan_batch, plan_run, plan_task_instance


@dataclass(frozen=True, slots=True)
class PlanFilter:
    """Which plans of these DAGs to list. ``user`` is a part of a name, ``user_id`` one person's id."""

    dags: Sequence[TeamDag]
    now: datetime
    user: str = ""
    user_id: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield SQL conditions on the plan table."""
        yield self._of_dags()
        if self.user:
            yield or_(
                plan.c.created_by_name.icontains(self.user, autoescape=True),
                plan.c.applied_by_name.icontains(self.user, autoescape=True),
            )
        if self.user_id:
            yield or_(plan.c.created_by == self.user_id, plan.c.applied_by == self.user_id)
        if self.since:
            yield plan.c.created_at >= self.since
        if self.until:
            yield plan.c.created_at <= self.until
        if self.status:
            yield self._has_status()

    def _of_dags(self) -> ColumnElement[bool]:
        by_team: dict[str | None, list[str]] = {}
        for dag in self.dags:
            by_team.setdefault(dag.team_name, []).append(dag.dag_id)
        return or_(
            false(),
            *(
                and_(plan.c.team_name.is_not_distinct_from(team), plan.c.dag_id.in_(dag_ids))
                for team, dag_ids in by_team.items()
            ),
        )

    def _has_status(self) -> ColumnElement[bool]:
        expired = plan.c.expires_at <= self.now
        asked = plan.c.approval_asked_at.is_not(None)
        left = plan.c.last_step_at <= self.now - HEARTBEAT_TIMEOUT
        special: dict[str, ColumnElement[bool]] = {
            "ready": and_(plan.c.status == "ready", ~expired, ~asked),
            "waiting": and_(plan.c.status == "ready", ~expired, asked),
            "expired": and_(plan.c.status == "ready", expired),
            "applying": and_(plan.c.status == "applying", ~left),
            "stopped": or_(plan.c.status == "stopped", and_(plan.c.status == "applying", left)),
        }
        return special.get(self.status, plan.c.status == self.status)


def plans(wanted: PlanFilter, session: Session, *, offset: int = 0, limit: int = 50) -> list[PlanSummary]:
    """Return a page of plans, the newest first."""
    query = select(plan).where(*wanted.conditions()).order_by(plan.c.created_at.desc(), plan.c.id)
    return [summary(row) for row in session.execute(query.offset(offset).limit(limit))]


def count_plans(wanted: PlanFilter, session: Session) -> int:
    """Count the plans that a filter lets through."""
    return session.scalar(select(func.count()).select_from(plan).where(*wanted.conditions())) or 0


def planned_dags(session: Session, dag_id: str = "") -> list[TeamDag]:
    """Return the DAGs that have plans, each with the team of the plan; those with the newest plan first."""
    query = (
        select(plan.c.dag_id, plan.c.team_name)
        .group_by(plan.c.dag_id, plan.c.team_name)
        .order_by(func.max(plan.c.created_at).desc(), plan.c.dag_id)
    )
    if dag_id:
        query = query.where(plan.c.dag_id == dag_id)
    return [TeamDag(row.dag_id, row.team_name) for row in session.execute(query)]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did: ``task_instances`` were cleared or put back, ``stayed`` could not be."""

    number: int
    kind: Literal["clear", "undo"]
    at: datetime
    by_name: str
    reason: str
    dag_runs: int
    task_instances: int
    stayed: int
    first_run: datetime
    last_run: datetime


def batches(plan_id: UUID, session: Session) -> list[Batch]:
    """Return what the transactions of a plan did, in order."""
    rows = session.execute(
        select(plan_batch).where(plan_batch.c.plan_id == plan_id).order_by(plan_batch.c.number)
    )
    return [
        Batch(
            number=row.number,
            kind=row.kind,
            at=row.at,
            by_name=row.actor_name,
            reason=row.reason,
            dag_runs=row.dag_runs,
            task_instances=row.task_instances,
            stayed=row.stayed,
            first_run=row.first_run,
            last_run=row.last_run,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class OtherClear:
    """Another plan that cleared some of the same task instances."""

    plan_id: str
    by_name: str
    at: datetime
    task_instances: int
    undone: bool


def other_clears(plan_id: UUID, dag_id: str, since: datetime, session: Session) -> list[OtherClear]:
    """Return the plans that cleared task instances of this plan after ``since``, the latest first."""
    mine, theirs = plan_task_instance.alias("mine"), plan_task_instance.alias("theirs")
    joined = (
        plan.join(plan_run, plan_run.c.plan_id == plan.c.id)
        .join(theirs, and_(theirs.c.plan_id == plan_run.c.plan_id, theirs.c.run_id == plan_run.c.run_id))
        .join(
            mine,
            and_(
                mine.c.plan_id == plan_id,
                *(mine.c[name] == theirs.c[name] for name in ("run_id", "task_id", "map_index")),
            ),
        )
    )
    query = (
        select(
            plan.c.id,
            plan.c.applied_by_name,
            func.max(plan_run.c.applied_at).label("at"),
            func.count().label("n"),
            plan.c.undone_runs,
        )
        .select_from(joined)
        .where(
            plan.c.dag_id == dag_id,
            plan.c.id != plan_id,
            plan_run.c.applied_at >= since,
            theirs.c.effect.in_(CLEARED_EFFECTS),
            mine.c.effect.in_(CLEARED_EFFECTS),
        )
        .group_by(plan.c.id, plan.c.applied_by_name, plan.c.undone_runs)
        .order_by(func.max(plan_run.c.applied_at).desc())
        .limit(10)
    )
    return [
        OtherClear(row.id.hex, row.applied_by_name or "", row.at, row.n, row.undone_runs > 0)
        for row in session.execute(query)
    ]
