"""What a plan's runs and task instances are up against, counted: versions, timeouts, other plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, there_is
from safe_clear_plugin.airflow_api.platform.key_table import by_value, in_parts
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.findings.affected import Affected
from safe_clear_plugin.core.findings.concurrent_plans import OtherPlan
from safe_clear_plugin.storage.tables import plan, plan_run, plan_task, plan_task_instance

rows_ = plan_task_instance
RECENT = timedelta(hours=24)
CONSIDERED = 20
"""Plans of others that are looked at, the latest first."""


@dataclass(frozen=True, slots=True)
class Timed:
    """The runs of one DAG version that a ``dagrun_timeout`` concerns."""

    anew: int
    going_on: int
    first_start: datetime | None
    last_start: datetime | None


def runs_by_version(plan_id: UUID, session: Session) -> dict[UUID, int]:
    """Count the runs in which something is cleared by the DAG version that they use."""
    version = plan_run.c.uses_dag_version_id
    query = select(version, func.count()).where(*_cleared_runs(plan_id)).group_by(version)
    return {version_id: number for version_id, number in session.execute(query)}  # noqa: C416 (typed)


def cleared_run_pks(plan_id: UUID) -> Select[tuple[int]]:
    """Select the primary keys of the runs in which something is cleared."""
    return select(plan_run.c.dag_run_id).where(*_cleared_runs(plan_id))


def not_in_dag(plan_id: UUID, session: Session) -> Affected:
    """Count what is cleared of tasks that the DAG version used does not have."""
    has_task = there_is(
        plan_task,
        plan_task.c.plan_id == plan_id,
        plan_task.c.shape == plan_run.c.shape,
        plan_task.c.task_id == rows_.c.task_id,
    )
    gone = (
        select(rows_.c.run_id, rows_.c.task_id, rows_.c.state)
        .join(plan_run, and_(plan_run.c.plan_id == rows_.c.plan_id, plan_run.c.run_id == rows_.c.run_id))
        .where(rows_.c.plan_id == plan_id, rows_.c.effect.in_(CLEARED_EFFECTS), ~has_task)
        .subquery("gone")
    )
    counted = select(gone.c.task_id, gone.c.state, func.count()).group_by(gone.c.task_id, gone.c.state)
    with hash_joins(session):
        tally = session.execute(counted).all()
        runs = session.scalar(select(func.count(gone.c.run_id.distinct()))) if tally else 0
    return Affected.of(((task_id, state, number) for task_id, state, number in tally), runs or 0)


def timed_runs(plan_id: UUID, session: Session) -> dict[UUID, Timed]:
    """Count, by DAG version, the runs that will start anew and those that keep their start."""
    going_on = _goes_on()
    version = plan_run.c.uses_dag_version_id
    result = session.execute(
        select(
            version,
            func.count().filter(plan_run.c.after_state == "queued").label("anew"),
            func.count().filter(going_on).label("going_on"),
            func.min(dag_run.c.start_date).filter(going_on).label("first_start"),
            func.max(dag_run.c.start_date).filter(going_on).label("last_start"),
        )
        .select_from(plan_run.join(dag_run, dag_run.c.id == plan_run.c.dag_run_id))
        .where(*_cleared_runs(plan_id))
        .group_by(version)
    )
    return {
        row.uses_dag_version_id: Timed(row.anew, row.going_on, row.first_start, row.last_start)
        for row in result
    }


def running_since(plan_id: UUID, before: Mapping[UUID, datetime], session: Session) -> int:
    """Count the runs that go on and started before the moment that is given for their DAG version."""
    started = select(func.count()).select_from(plan_run.join(dag_run, dag_run.c.id == plan_run.c.dag_run_id))
    return sum(
        session.scalar(
            started.where(
                *_cleared_runs(plan_id),
                _goes_on(),
                or_(
                    *(
                        and_(plan_run.c.uses_dag_version_id.in_(versions), dag_run.c.start_date < moment)
                        for moment, versions in moments
                    )
                ),
            )
        )
        or 0
        for moments in in_parts(by_value(before))
    )


def _goes_on() -> ColumnElement[bool]:
    return and_(plan_run.c.after_state == "running", dag_run.c.start_date.is_not(None))


def plans_of_others(
    plan_id: UUID, dag_id: str, actor_id: str, now: datetime, session: Session
) -> tuple[list[OtherPlan], int]:
    """Return open plans and recent clears of others over the same task instances, and how many these are."""
    others = session.execute(
        select(plan.c.id, plan.c.status, plan.c.created_at, plan.c.last_step_at)
        .add_columns(func.coalesce(plan.c.applied_by_name, plan.c.created_by_name).label("by_name"))
        .where(plan.c.dag_id == dag_id, plan.c.id != plan_id, _of_others(actor_id, now))
        # Who is clearing comes before who has only looked.
        .order_by(case((plan.c.status == "ready", 1), else_=0), plan.c.created_at.desc())
        .limit(CONSIDERED)
    ).all()
    found = [
        OtherPlan(
            plan_id=row.id.hex,
            by_name=row.by_name,
            status=row.status,
            at=row.last_step_at or row.created_at,
            shared=_shared(plan_id, [row.id], session),
        )
        for row in others
    ]
    sharing = [other for other in found if other.shared]
    return sharing, _shared(plan_id, [UUID(other.plan_id) for other in sharing], session)


def _of_others(actor_id: str, now: datetime) -> ColumnElement[bool]:
    open_plan = and_(plan.c.status == "ready", plan.c.expires_at > now, plan.c.created_by != actor_id)
    recent_clear = and_(
        plan.c.status.in_(("applying", "stopped", "applied")),
        plan.c.last_step_at >= now - RECENT,
        plan.c.applied_by != actor_id,
        or_(plan.c.status == "applying", plan.c.cleared > plan.c.put_back + plan.c.stayed),
    )
    return or_(open_plan, recent_clear)


def _shared(plan_id: UUID, others: list[UUID], session: Session) -> int:
    """Count what the plan clears that one of the others clears too."""
    theirs = rows_.alias("theirs")
    shared = (
        select(theirs.c.run_id)
        .where(
            theirs.c.plan_id.in_(others),
            theirs.c.effect.in_(CLEARED_EFFECTS),
            *(theirs.c[name] == rows_.c[name] for name in ("run_id", "task_id", "map_index")),
        )
        .exists()
    )
    mine = (rows_.c.plan_id == plan_id, rows_.c.effect.in_(CLEARED_EFFECTS))
    return session.scalar(select(func.count()).where(*mine, shared)) or 0


def _cleared_runs(plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    yield plan_run.c.plan_id == plan_id
    yield plan_run.c.task_instances > 0
