"""Reading plans back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, exists, func, inspect, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_fixed
from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, COVERED_EFFECTS, Effect
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.planned_rows import PlannedRun, PlannedTaskInstance
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.plans.filters import row_conditions
from safe_clear_plugin.storage.plans.plan_summary import select_plans, summary
from safe_clear_plugin.storage.rows import (
    RUN_DATE,
    RUN_ORDER,
    cleared_runs,
    is_cleared_run,
    map_label,
    planned_with_run,
)
from safe_clear_plugin.storage.tables import metadata, plan, plan_run, plan_task_instance

rows_ = plan_task_instance
LABELS_READ = 100
"""The number of task instances whose labels are compared."""


def tables_exist(session: Session) -> bool:
    """Whether ``airflow db migrate`` has made Safe Clear's tables, for the Airflow that is installed."""
    inspector = inspect(session.connection())
    there = all(inspector.has_table(table.name, schema=table.schema) for table in metadata.sorted_tables)
    return there and not missing_columns(session.connection())


def get(plan_id: UUID, session: Session) -> PlanSummary | None:
    """Return a plan without its rows."""
    row = session.execute(select_plans().where(plan.c.id == plan_id)).one_or_none()
    return summary(row) if row else None


def runs(
    plan_id: UUID,
    session: Session,
    *,
    run_ids: Sequence[str] | None = None,
    offset: int = 0,
    limit: int | None = None,
    only_cleared: bool = False,
) -> list[PlannedRun]:
    """Return the plan's dag runs in order, the earliest first; with ``only_cleared`` those cleared so far.

    With ``run_ids``, those runs, also where everything selected in them is left out.
    """
    query = (
        select(plan_run).where(plan_run.c.plan_id == plan_id).order_by(*RUN_ORDER).offset(offset).limit(limit)
    )
    if run_ids is not None:
        query = query.where(is_named(plan_run.c.run_id, run_ids))
    else:
        query = query.where(is_cleared_run())
    if only_cleared:
        query = query.where(plan_run.c.applied_at.is_not(None))
    return [_run(row) for row in session.execute(query)]


def cleared_dates(
    plan_id: UUID, session: Session, *, only_now_cleared: bool = False
) -> dict[str, set[datetime]]:
    """Return the logical dates of the runs in which the plan clears each task; runs without one are left out.

    With ``only_now_cleared``, only of runs that are cleared and not undone.
    """
    query = (
        select(rows_.c.task_id, plan_run.c.logical_date)
        .select_from(planned_with_run())
        .where(
            is_fixed(plan_run.c.plan_id, plan_id),
            rows_.c.effect.in_(CLEARED_EFFECTS),
            plan_run.c.logical_date.is_not(None),
        )
        .distinct()
    )
    if only_now_cleared:
        query = query.where(plan_run.c.applied_at.is_not(None), plan_run.c.undone_at.is_(None))
    found: dict[str, set[datetime]] = {}
    for task_id, logical_date in session.execute(query):
        found.setdefault(task_id, set()).add(logical_date)
    return found


def first_and_last_run(plan_id: UUID, session: Session) -> tuple[PlannedRun | None, PlannedRun | None]:
    """Return the runs of the plan with the earliest and the latest date that a run goes by."""
    query = select(plan_run).where(*cleared_runs(plan_id)).limit(1)
    first = session.execute(query.order_by(RUN_DATE, plan_run.c.dag_run_id)).one_or_none()
    last = session.execute(query.order_by(RUN_DATE.desc(), plan_run.c.dag_run_id.desc())).one_or_none()
    return (_run(first) if first else None, _run(last) if last else None)


def days_with_runs(plan_id: UUID, days: Iterable[date], session: Session) -> set[date]:
    """Return those of the days, in UTC, that have a run of the plan."""

    def has_run(day: date) -> ColumnElement[bool]:
        start = datetime.combine(day, time.min, timezone.utc)
        return exists().where(*cleared_runs(plan_id), start <= RUN_DATE, start + timedelta(days=1) > RUN_DATE)

    asked = list(days)
    if not asked:
        return set()
    found = session.execute(select(*(has_run(day).label(f"day_{n}") for n, day in enumerate(asked)))).one()
    return {day for day, has in zip(asked, found, strict=True) if has}


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
    query = (
        select(rows_, map_label(rows_, plan_id, session))
        .select_from(planned_with_run())
        .where(plan_run.c.plan_id == plan_id, rows_.c.plan_id == plan_id, *row_conditions(wanted))
        .order_by(*RUN_ORDER, rows_.c.task_id, rows_.c.map_index)
        .offset(offset)
        .limit(limit)
    )
    with hash_joins(session):
        result = session.execute(query).all()
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
            rendered_map_index=row.rendered_map_index,
        )
        for row in result
    ]


def selected_label(plan_id: UUID, map_index: int, session: Session) -> str | None:
    """Return the label that ``map_index_template`` makes of a map index, if it is the same in the whole plan.

    Several runs or tasks can have different labels for it.
    """
    of_index = (rows_.c.plan_id == plan_id, rows_.c.map_index == map_index)
    query = select(map_label(rows_, plan_id, session)).where(*of_index).limit(LABELS_READ)
    labels = set(session.scalars(query))
    return labels.pop() if len(labels) == 1 else None


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
