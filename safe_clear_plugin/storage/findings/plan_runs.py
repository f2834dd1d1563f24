"""The dag runs of a plan in which something is cleared."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.storage.tables import plan_run


def is_cleared_run(plan_id: UUID) -> ColumnElement[bool]:
    """Whether a row of ``plan_run`` is a run of the plan in which something is cleared."""
    return and_(plan_run.c.plan_id == plan_id, plan_run.c.task_instances > 0)


def cleared_run_pks(plan_id: UUID) -> Select[tuple[int]]:
    """Select the primary keys of the runs in which something is cleared."""
    return select(plan_run.c.dag_run_id).where(is_cleared_run(plan_id))


def count_by_version(plan_id: UUID, session: Session) -> dict[UUID, int]:
    """Count the runs in which something is cleared by the DAG version that they use."""
    version = plan_run.c.uses_dag_version_id
    query = select(version, func.count()).where(is_cleared_run(plan_id)).group_by(version)
    return {version_id: number for version_id, number in session.execute(query)}  # noqa: C416 (typed)
