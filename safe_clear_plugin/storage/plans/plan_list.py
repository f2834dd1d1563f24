"""The list of plans, the batches of one, and their users."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.plan import PlanSummary, TeamDag
from safe_clear_plugin.core.plan_filters import PlanFilter
from safe_clear_plugin.core.plan_records import BatchRecord, OtherClear
from safe_clear_plugin.storage.plans.filters import plan_conditions
from safe_clear_plugin.storage.plans.plan_summary import select_plans, summary
from safe_clear_plugin.storage.tables import plan, plan_batch, plan_run, plan_task_instance


def plans(wanted: PlanFilter, session: Session, *, offset: int = 0, limit: int = 50) -> list[PlanSummary]:
    """Return a page of plans, the newest first."""
    query = select_plans().where(*plan_conditions(wanted)).order_by(plan.c.created_at.desc(), plan.c.id)
    return [summary(row) for row in session.execute(query.offset(offset).limit(limit))]


def count_plans(wanted: PlanFilter, session: Session) -> int:
    """Count the plans that a filter lets through."""
    return session.scalar(select(func.count()).select_from(plan).where(*plan_conditions(wanted))) or 0


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


def batches(plan_id: UUID, session: Session) -> list[BatchRecord]:
    """Return what the transactions of a plan did, in order."""
    rows = session.execute(
        select(plan_batch).where(plan_batch.c.plan_id == plan_id).order_by(plan_batch.c.number)
    )
    return [
        BatchRecord(
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
