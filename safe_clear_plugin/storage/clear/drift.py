"""Drift: how the database differs from what the plan's preview showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.column import ClearedColumn
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import join_runs, nested_loops, of_dag, without_index
from safe_clear_plugin.core.drift import GONE, NOT_THERE, DriftCode, DriftedRow, StateThen
from safe_clear_plugin.core.effects import CREATING_EFFECTS, PLANNED_EFFECTS
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.clear import version_drift
from safe_clear_plugin.storage.rows import (
    RUN_ORDER,
    in_runs,
    is_cleared_run,
    is_planned_run,
    of_plan,
    same_task_instance,
)
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

MAX_LISTED = 200
"""Drifted rows that are listed at most; the count is of all."""

Condition = tuple[ColumnElement[bool], DriftCode]


def find_drift(
    plan: PlanSummary, session: Session, run_ids: Sequence[str] | None = None
) -> tuple[list[DriftedRow], int]:
    """Return what differs from the preview, and how many things do; of ``run_ids`` only, if given.

    A row has drifted if a column differs for which
    :mod:`~safe_clear_plugin.airflow_api.clear.cleared_columns` has a drift code, if it is gone, or if
    Airflow was to create it and it is there already. A DAG version, if a run would use another one
    now or if it was rewritten in place, and what the plan rests on differs; else the plan's rows get the
    new version, which the clear will give to theirs.
    To be called within :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`.
    """
    if _is_as_shown(plan, run_ids, session):
        return [], 0
    plan_id = UUID(plan.id)
    if gone := version_drift.find_dag_gone(plan, session):
        return [gone], 1
    with nested_loops(session):
        versions = version_drift.follow_or_find(plan, run_ids, session)
    runs, run_count = _listed(_select_runs(plan_id, plan.dag_id, run_ids), session)
    rows, row_count = _listed(_select_task_instances(plan_id, plan.dag_id, run_ids), session)
    found = [*versions, *map(_drifted_run, runs), *map(_drifted_task_instance, rows)]
    return found[:MAX_LISTED], len(versions) + run_count + row_count


def _is_as_shown(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> bool:
    """Whether nothing has drifted, checked by one statement; if something has, each kind is checked."""
    if not plan.dag_versions:
        return False
    plan_id = UUID(plan.id)
    queries = [
        *version_drift.drifted_runs(plan, run_ids),
        _select_runs(plan_id, plan.dag_id, run_ids),
        _select_task_instances(plan_id, plan.dag_id, run_ids),
    ]
    counts = (_count(query) for query in queries)
    same, *others = session.execute(select(version_drift.unchanged(plan), *counts)).one()
    return same == len(plan.dag_versions) and not any(others)


def _count(query: Select[Any]) -> ColumnElement[int]:
    return select(func.count()).select_from(query.order_by(None).subquery()).scalar_subquery()


def drifted_run_ids(plan_id: UUID, dag_id: str, session: Session) -> set[str]:
    """Return the runs of the plan that have drifted: their own row, or one of their task instances."""
    runs = _select_runs(plan_id, dag_id, None).with_only_columns(plan_run.c.run_id)
    rows = _select_task_instances(plan_id, dag_id, None).with_only_columns(plan_task_instance.c.run_id)
    join_runs(session)
    return set(session.scalars(runs.order_by(None).union(rows.order_by(None))))


def _differences(
    columns: Sequence[ClearedColumn[Any]], planned: FromClause, live: FromClause
) -> list[Condition]:
    """Return when a row that is there differs from the preview, and the code that names it."""
    return [(column.has_drifted(planned, live), column.drift) for column in columns if column.drift]


def _code(conditions: Sequence[Condition]) -> ColumnElement[str]:
    """Return the code of the first condition that holds."""
    return case(*((condition, code.value) for condition, code in conditions)).label("code")


def _select_runs(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> Select[Any]:
    live = dag_run
    conditions: list[Condition] = [
        (live.c.id.is_(None), DriftCode.DELETED),
        *_differences(cleared_columns.DAG_RUN, plan_run, live),
    ]
    return (
        select(plan_run.c.run_id, plan_run.c.state.label("before"), live.c.state, _code(conditions))
        .select_from(
            plan_run.outerjoin(
                live,
                and_(
                    live.c.id == plan_run.c.dag_run_id,
                    without_index(live.c.dag_id) == dag_id,
                    is_planned_run(live, plan_id, run_ids),
                ),
            )
        )
        .where(
            of_plan(plan_run, plan_id, run_ids),
            is_cleared_run(),
            or_(*(condition for condition, _ in conditions)),
        )
        .order_by(*RUN_ORDER)
    )


def _drifted_run(row: Any) -> DriftedRow:
    code = DriftCode(row.code)
    now = GONE if code == DriftCode.DELETED else StateThen(row.state)
    return DriftedRow("dag_run", code, StateThen(row.before), now, row.run_id)


def _select_task_instances(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> Select[Any]:
    planned, live = plan_task_instance, task_instance
    to_create = planned.c.effect.in_(CREATING_EFFECTS)
    created = and_(to_create, live.c.id.is_not(None))
    changed: list[Condition] = [
        (live.c.id.is_(None), DriftCode.DELETED_OR_EXPANDED),
        *_differences(cleared_columns.TASK_INSTANCE, planned, live),
    ]
    same_row = and_(
        of_dag(live, dag_id),
        same_task_instance(live, planned),
        in_runs(live, plan_id, run_ids),
    )
    return (
        select(
            planned.c.run_id,
            planned.c.task_id,
            planned.c.map_index,
            planned.c.state.label("before"),
            planned.c.try_number.label("before_try"),
            live.c.state,
            live.c.try_number,
            _code([(created, DriftCode.CREATED), *changed]),
        )
        .select_from(planned.outerjoin(live, same_row))
        .where(
            of_plan(planned, plan_id, run_ids),
            planned.c.effect.in_(PLANNED_EFFECTS),
            or_(created, and_(~to_create, or_(*(condition for condition, _ in changed)))),
        )
        .order_by(planned.c.run_id, planned.c.task_id, planned.c.map_index)
    )


def _drifted_task_instance(row: Any) -> DriftedRow:
    code = DriftCode(row.code)
    before = NOT_THERE if code == DriftCode.CREATED else StateThen(row.before, row.before_try)
    now = GONE if code == DriftCode.DELETED_OR_EXPANDED else StateThen(row.state, row.try_number)
    return DriftedRow("task_instance", code, before, now, row.run_id, row.task_id, row.map_index)


def _listed(query: Select[Any], session: Session) -> tuple[Sequence[Any], int]:
    rows = session.execute(query.limit(MAX_LISTED + 1)).all()
    if len(rows) <= MAX_LISTED:
        return rows, len(rows)
    return rows[:MAX_LISTED], session.scalar(select(_count(query))) or 0
