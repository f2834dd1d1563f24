"""What a plan covers, held against the database as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import (
    changed_versions,
    latest_version,
    latest_version_id,
    unchanged_versions,
    version_numbers,
)
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.selection import selection_queries as airflow_runs
from safe_clear_plugin.core.effects import COVERED_EFFECTS
from safe_clear_plugin.core.mismatch import Moved
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

LISTED = 200
"""Rows that a list of what moved holds at most; the count is of all."""


def find(
    plan: PlanSummary, session: Session, run_ids: Sequence[str] | None = None
) -> tuple[list[Moved], int]:
    """Return what moved since the preview, and how many things did; of ``run_ids`` only, if given.

    A task instance moved when its id, state, try number or DAG version differs, or it is gone, or one that
    the clear was to make Airflow create is there already. A dag run, when its state, clear number or version
    differs. A DAG version, when a run would use another one by now or it was rewritten in place.
    """
    if _is_as_shown(plan, run_ids, session):
        return [], 0
    plan_id = UUID(plan.id)
    if latest_version_id(plan.dag_id, session) is None:
        gone = Moved(
            "dag_version",
            None,
            None,
            None,
            "serialized",
            "none",
            "the DAG has no serialized version any more",
        )
        return [gone], 1
    versions = _moved_versions(plan, run_ids, session)
    runs, run_count = _moved_runs(plan_id, plan.dag_id, run_ids, session)
    rows, row_count = _moved_task_instances(plan_id, plan.dag_id, run_ids, session)
    return (versions + runs + rows)[:LISTED], len(versions) + run_count + row_count


def _is_as_shown(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> bool:
    """Whether nothing has moved, which one statement tells; only where it cannot, each kind is looked at."""
    if not plan.dag_versions:
        return False
    plan_id = UUID(plan.id)
    may_have_moved = [
        _other_versions(plan, run_ids).with_only_columns(plan_run.c.run_id),
        _runs_query(plan_id, plan.dag_id, run_ids),
        _task_instances_query(plan_id, plan.dag_id, run_ids),
    ]
    if _bundles(plan):
        may_have_moved.append(_moving_runs(plan, run_ids))
    counts = (_count(query) for query in may_have_moved)
    same, *others = session.execute(select(unchanged_versions(plan.dag_versions), *counts)).one()
    return same == len(plan.dag_versions) and not any(others)


def _count(query: Select[Any]) -> ColumnElement[int]:
    return select(func.count()).select_from(query.order_by(None).subquery()).scalar_subquery()


def moved_run_ids(plan_id: UUID, dag_id: str, session: Session) -> set[str]:
    """Return the runs of the plan that are not as shown: their own row, or a task instance of theirs."""
    runs = _runs_query(plan_id, dag_id, None).with_only_columns(plan_run.c.run_id)
    rows = _task_instances_query(plan_id, dag_id, None).with_only_columns(plan_task_instance.c.run_id)
    moved = runs.order_by(None).union(rows.order_by(None))
    return set(session.scalars(moved))


def _other_versions(plan: PlanSummary, run_ids: Sequence[str] | None) -> Select[Any]:
    """Select the runs that would use another DAG version by now."""
    uses = airflow_runs.uses_version(plan.run_on_latest_version, latest_version(plan.dag_id))
    return (
        select(plan_run.c.uses_dag_version_id, uses.label("now"))
        .join(dag_run, dag_run.c.id == plan_run.c.dag_run_id)
        .where(*_of_plan(plan_run, UUID(plan.id), run_ids), uses != plan_run.c.uses_dag_version_id)
    )


def _moved_versions(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> list[Moved]:
    others = _other_versions(plan, run_ids).subquery().c
    changed = session.execute(
        select(others.uses_dag_version_id, others.now, func.count().label("n")).group_by(
            others.uses_dag_version_id, others.now
        )
    ).all()
    numbers = version_numbers({id_ for row in changed for id_ in (row[0], row.now)}, session)
    moved = [
        Moved(
            "dag_version",
            None,
            None,
            None,
            f"version {numbers.get(row[0], '?')}",
            f"version {numbers.get(row.now, '?')}",
            f"{plan.dag_id} changed; {row.n:,} of the runs would use the new version",
        )
        for row in changed
    ]
    moved += _moved_bundle(plan, run_ids, session)
    return moved + [
        Moved(
            "dag_version",
            None,
            None,
            None,
            f"version {item['number']}",
            "changed or gone",
            f"{plan.dag_id} changed",
        )
        for item in changed_versions(plan.dag_versions, session)
    ]


def _bundles(plan: PlanSummary) -> set[str]:
    """Return the bundle version that the plan's runs may move to, if there is one."""
    return {item["bundle_version"] for item in plan.dag_versions if item["bundle_version"]}


def _moved_bundle(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> list[Moved]:
    """Return the bundle version that runs were to move to, if the DAG was parsed from another one since."""
    planned = _bundles(plan)
    now = airflow_runs.bundle_version_of(plan.dag_id, session) if planned else None
    if planned <= {now} or not session.scalar(select(_count(_moving_runs(plan, run_ids)))):
        return []
    before = ", ".join(sorted(planned))
    how = f"{plan.dag_id} was parsed from another bundle version"
    return [Moved("dag_version", None, None, None, f"bundle {before}", f"bundle {now}", how)]


def _moving_runs(plan: PlanSummary, run_ids: Sequence[str] | None) -> Select[Any]:
    of_plan = _of_plan(plan_run, UUID(plan.id), run_ids)
    return select(plan_run.c.run_id).where(*of_plan, plan_run.c.moves_to_latest)


def _of_plan(table: Any, plan_id: UUID, run_ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    conditions = [table.c.plan_id == plan_id]
    if run_ids is not None:
        conditions.append(table.c.run_id.in_(run_ids))
    return conditions


def _moved_runs(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None, session: Session
) -> tuple[list[Moved], int]:
    rows, count = _listed(_runs_query(plan_id, dag_id, run_ids), session)
    return [_moved_run(row) for row in rows], count


def _runs_query(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> Select[Any]:
    live = dag_run
    different = or_(
        live.c.id.is_(None),
        live.c.state.is_distinct_from(plan_run.c.state),
        live.c.clear_number.is_distinct_from(plan_run.c.clear_number),
        live.c.created_dag_version_id.is_distinct_from(plan_run.c.dag_version_id),
        live.c.bundle_version.is_distinct_from(plan_run.c.bundle_version),
    )
    return (
        select(
            plan_run.c.run_id,
            plan_run.c.state.label("before"),
            plan_run.c.clear_number.label("before_clears"),
            live.c.id,
            live.c.state,
            live.c.clear_number,
            live.c.created_dag_version_id.is_distinct_from(plan_run.c.dag_version_id).label("other_version"),
        )
        .select_from(
            plan_run.outerjoin(live, and_(live.c.id == plan_run.c.dag_run_id, live.c.dag_id == dag_id))
        )
        .where(*_of_plan(plan_run, plan_id, run_ids), plan_run.c.task_instances > 0, different)
        .order_by(plan_run.c.run_after, plan_run.c.dag_run_id)
    )


def _moved_run(row: Any) -> Moved:
    if row.id is None:
        return Moved("dag_run", row.run_id, None, None, row.before, "gone", "the dag run was deleted")
    if row.clear_number != row.before_clears:
        how = "cleared since"
    elif row.state != row.before:
        how = "its state changed"
    elif row.other_version:
        how = "it moved to another DAG version"
    else:
        how = "its bundle version changed"
    return Moved("dag_run", row.run_id, None, None, row.before, row.state, how)


def _moved_task_instances(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None, session: Session
) -> tuple[list[Moved], int]:
    rows, count = _listed(_task_instances_query(plan_id, dag_id, run_ids), session)
    return [_moved_task_instance(row) for row in rows], count


def _task_instances_query(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> Select[Any]:
    planned, live = plan_task_instance, task_instance
    created = planned.c.effect == "create"
    changed = or_(
        live.c.id.is_(None),
        live.c.id != planned.c.task_instance_id,
        live.c.state.is_distinct_from(planned.c.state),
        live.c.try_number.is_distinct_from(planned.c.try_number),
        live.c.dag_version_id.is_distinct_from(planned.c.dag_version_id),
    )
    same_key = and_(
        live.c.dag_id == dag_id,
        live.c.run_id == planned.c.run_id,
        live.c.task_id == planned.c.task_id,
        live.c.map_index == planned.c.map_index,
        # Said of these too, or PostgreSQL may read all of the DAG's.
        *([live.c.run_id.in_(run_ids)] if run_ids is not None else []),
    )
    return (
        select(
            planned.c.run_id,
            planned.c.task_id,
            planned.c.map_index,
            planned.c.effect,
            planned.c.task_instance_id,
            planned.c.state.label("before"),
            planned.c.try_number.label("before_try"),
            live.c.id,
            live.c.state,
            live.c.try_number,
        )
        .select_from(planned.outerjoin(live, same_key))
        .where(
            *_of_plan(planned, plan_id, run_ids),
            planned.c.effect.in_(COVERED_EFFECTS),
            or_(and_(created, live.c.id.is_not(None)), and_(~created, changed)),
        )
        .order_by(planned.c.run_id, planned.c.task_id, planned.c.map_index)
    )


def _moved_task_instance(row: Any) -> Moved:
    before = "not there" if row.effect == "create" else _state(row.before, row.before_try)
    if row.id is None:
        now, how = "gone", "deleted, or expanded into mapped task instances"
    else:
        now = _state(row.state, row.try_number)
        if row.effect == "create":
            how = "created since"
        elif row.id != row.task_instance_id:
            how = "cleared or retried since"
        elif (row.state, row.try_number) != (row.before, row.before_try):
            how = "its state changed"
        else:
            how = "it moved to another DAG version"
    return Moved("task_instance", row.run_id, row.task_id, row.map_index, before, now, how)


def _state(state: str | None, try_number: int | None) -> str:
    return f"{state or NO_STATE}, try {try_number}"


def _listed(query: Select[Any], session: Session) -> tuple[Sequence[Any], int]:
    rows = session.execute(query.limit(LISTED + 1)).all()
    if len(rows) <= LISTED:
        return rows, len(rows)
    return rows[:LISTED], session.scalar(select(_count(query))) or 0
