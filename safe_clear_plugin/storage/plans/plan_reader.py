"""Reading plans back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, inspect, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_fixed
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, COVERED_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import count_outcomes
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary, StateChange
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.plans.filters import row_conditions
from safe_clear_plugin.storage.plans.plan_summary import summary
from safe_clear_plugin.storage.rows import (
    RUN_DATE,
    RUN_ORDER,
    is_cleared_run,
    planned_with_run,
    same_task_instance,
)
from safe_clear_plugin.storage.tables import metadata, plan, plan_run, plan_task_instance

rows_ = plan_task_instance


def tables_exist(session: Session) -> bool:
    """Whether ``airflow db migrate`` has made Safe Clear's tables, for the Airflow that is installed."""
    inspector = inspect(session.connection())
    there = all(inspector.has_table(table.name, schema=table.schema) for table in metadata.sorted_tables)
    return there and not missing_columns(session.connection())


def get(plan_id: UUID, session: Session) -> PlanSummary | None:
    """Return a plan without its rows."""
    row = session.execute(select(plan).where(plan.c.id == plan_id)).one_or_none()
    return summary(row) if row else None


def state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's task instances by state before, state after and effect."""
    result = session.execute(
        select(rows_.c.state, rows_.c.after_state, rows_.c.effect, func.count().label("n"))
        .where(rows_.c.plan_id == plan_id)
        .group_by(rows_.c.state, rows_.c.after_state, rows_.c.effect)
        .order_by(func.count().desc(), rows_.c.effect, rows_.c.state)
    )
    return [StateChange(row.state, row.after_state, Effect(row.effect), row.n) for row in result]


def run_state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's dag runs by state before and after."""
    result = session.execute(
        select(plan_run.c.state, plan_run.c.after_state, func.count().label("n"))
        .where(*_cleared_runs(plan_id))
        .group_by(plan_run.c.state, plan_run.c.after_state)
        .order_by(func.count().desc(), plan_run.c.state)
    )
    return [StateChange(row.state, row.after_state, Effect.CLEAR, row.n) for row in result]


def outcomes(plan_id: UUID, session: Session) -> dict[str, int]:
    """Count the plan's task instances by outcome."""
    counted = select(rows_.c.outcome, func.count()).where(rows_.c.plan_id == plan_id)
    return count_outcomes((outcome, n) for outcome, n in session.execute(counted.group_by(rows_.c.outcome)))


def run_outcomes(plan_id: UUID, session: Session) -> dict[str, int]:
    """Count the plan's dag runs in which something is cleared by outcome."""
    counted = select(plan_run.c.outcome, func.count()).where(*_cleared_runs(plan_id))
    found = session.execute(counted.group_by(plan_run.c.outcome))
    return {outcome: number for outcome, number in found if outcome is not None}


def runs(
    plan_id: UUID,
    session: Session,
    *,
    run_ids: Sequence[str] | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> list[PlannedRun]:
    """Return the plan's dag runs in the order in which they are cleared.

    With ``run_ids``, those runs, also where everything selected in them is left out.
    """
    query = (
        select(plan_run).where(plan_run.c.plan_id == plan_id).order_by(*RUN_ORDER).offset(offset).limit(limit)
    )
    if run_ids is not None:
        query = query.where(plan_run.c.run_id.in_(run_ids))
    else:
        query = query.where(is_cleared_run())
    return [_run(row) for row in session.execute(query)]


def _cleared_runs(plan_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return plan_run.c.plan_id == plan_id, is_cleared_run()


def first_and_last_run(plan_id: UUID, session: Session) -> tuple[PlannedRun | None, PlannedRun | None]:
    """Return the runs of the plan with the earliest and the latest date that a run goes by."""
    query = select(plan_run).where(*_cleared_runs(plan_id)).limit(1)
    first = session.execute(query.order_by(RUN_DATE, plan_run.c.dag_run_id)).one_or_none()
    last = session.execute(query.order_by(RUN_DATE.desc(), plan_run.c.dag_run_id.desc())).one_or_none()
    return (_run(first) if first else None, _run(last) if last else None)


def days_with_runs(plan_id: UUID, days: Iterable[date], session: Session) -> set[date]:
    """Return those of the days, in UTC, that have a run of the plan."""

    def has_run(day: date) -> bool:
        start = datetime.combine(day, time.min, timezone.utc)
        found = select(plan_run.c.run_id).where(
            *_cleared_runs(plan_id), start <= RUN_DATE, start + timedelta(days=1) > RUN_DATE
        )
        return session.execute(found.limit(1)).one_or_none() is not None

    return {day for day in days if has_run(day)}


def _run(row: Row[Any]) -> PlannedRun:
    return PlannedRun(
        run_id=row.run_id,
        logical_date=row.logical_date,
        run_after=row.run_after,
        run_type=row.run_type,
        state=row.state,
        after_state=row.after_state,
        task_instances=row.task_instances,
        applied_at=row.applied_at,
        batch=row.batch,
        undone_at=row.undone_at,
        undo_batch=row.undo_batch,
        put_back=row.put_back,
        outcome=row.outcome,
        outcome_reason=row.outcome_reason,
        partition_key=row.partition_key,
        partition_date=row.partition_date,
    )


def _hex(value: UUID | None) -> str | None:
    return str(value) if value else None


def count_task_instances(plan_id: UUID, wanted: RowFilter, session: Session) -> int:
    """Count the rows that a filter lets through."""
    return (
        session.scalar(
            select(func.count()).select_from(rows_).where(rows_.c.plan_id == plan_id, *row_conditions(wanted))
        )
        or 0
    )


def task_instances(
    plan_id: UUID, wanted: RowFilter, session: Session, *, offset: int = 0, limit: int = 100
) -> list[PlannedTaskInstance]:
    """Return a page of the plan's task instances, by run in clearing order, then by task."""
    result = session.execute(
        select(rows_)
        .select_from(planned_with_run())
        .where(is_fixed(plan_run.c.plan_id, plan_id), *row_conditions(wanted))
        .order_by(*RUN_ORDER, rows_.c.task_id, rows_.c.map_index)
        .offset(offset)
        .limit(limit)
    )
    return [
        PlannedTaskInstance(
            run_id=row.run_id,
            task_id=row.task_id,
            map_index=row.map_index,
            id=_hex(row.task_instance_id),
            state=row.state,
            try_number=row.try_number,
            effect=Effect(row.effect),
            after_state=row.after_state,
            after_max_tries=row.after_max_tries,
            why=row.why,
            outcome=row.outcome,
            outcome_reason=row.outcome_reason,
        )
        for row in result
    ]


def states_now(plan_id: UUID, dag_id: str, session: Session) -> list[tuple[str | None, int]]:
    """Count the task instances that the plan cleared, in the runs that it got to, by their state now."""
    ti = task_instance
    joined = planned_with_run().join(ti, and_(ti.c.dag_id == dag_id, same_task_instance(ti, rows_)))
    result = session.execute(
        select(ti.c.state, func.count().label("n"))
        .select_from(joined)
        .where(
            is_fixed(plan_run.c.plan_id, plan_id),
            rows_.c.effect.in_(CLEARED_EFFECTS),
            plan_run.c.applied_at.is_not(None),
        )
        .group_by(ti.c.state)
        .order_by(ti.c.state)
    )
    return [(row.state, row.n) for row in result]


def touched_ids(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select the ids of the task instances of a batch of runs that do not stay as they are."""
    return select(rows_.c.task_instance_id).where(
        rows_.c.plan_id == plan_id,
        rows_.c.run_id.in_(run_ids),
        rows_.c.effect.in_(COVERED_EFFECTS),
        rows_.c.task_instance_id.is_not(None),
    )


def cleared_ids(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select the ids of the task instances that a batch of runs clears."""
    return select(rows_.c.task_instance_id).where(
        rows_.c.plan_id == plan_id, rows_.c.run_id.in_(run_ids), rows_.c.effect.in_(CLEARED_EFFECTS)
    )
