"""The dag runs of a plan in which something is cleared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, null, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.storage.tables import plan_run


def is_cleared_run(plan_id: UUID) -> ColumnElement[bool]:
    """Whether a row of ``plan_run`` is a run of the plan in which something is cleared."""
    return and_(plan_run.c.plan_id == plan_id, plan_run.c.task_instances > 0)


def run_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns of the dag run in a list of task instances."""
    return (
        plan_run.c.run_id,
        plan_run.c.logical_date,
        plan_run.c.run_after,
        plan_run.c.dag_run_id,
        plan_run.c.shape,
    )


def beside_plan(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select the live task instances of these runs. The caller decides whether they are in the plan."""
    ti = task_instance
    return (
        select(*run_columns(), ti.c.task_id, ti.c.map_index, ti.c.state, ti.c.try_number)
        .add_columns(null().label("foreseen_state"), null().label("outcome_reason"))
        .select_from(plan_run.join(ti, and_(ti.c.dag_id == dag_id, ti.c.run_id == plan_run.c.run_id)))
        .where(is_cleared_run(plan_id))
    )


def cleared_run_pks(plan_id: UUID, versions: Collection[UUID] | None = None) -> Select[tuple[int]]:
    """Select the primary keys of the runs in which something is cleared, if given of these DAG versions."""
    query = select(plan_run.c.dag_run_id).where(is_cleared_run(plan_id))
    return query if versions is None else query.where(plan_run.c.uses_dag_version_id.in_(versions))


def count_by_partition(plan_id: UUID, session: Session) -> tuple[int, int]:
    """Count the runs in which something is cleared that have a partition key, and those that have none."""
    key = plan_run.c.partition_key
    query = select(func.count().filter(key.is_not(None)), func.count().filter(key.is_(None)))
    with_key, without = session.execute(query.where(is_cleared_run(plan_id))).one()
    return with_key, without


def count_by_version(plan_id: UUID, session: Session) -> dict[UUID, int]:
    """Count the runs in which something is cleared by the DAG version that they use."""
    version = plan_run.c.uses_dag_version_id
    query = select(version, func.count()).where(is_cleared_run(plan_id)).group_by(version)
    return {version_id: number for version_id, number in session.execute(query)}  # noqa: C416 (typed)
