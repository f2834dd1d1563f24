"""The task instances that failed in a time range: by their state now, and the time at which they ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.core.states import FAILED_STATES


def has_failed(ti: FromClause, since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """Whether a task instance is failed or upstream_failed, and ended in this time; both ends are in it.

    One without an end date, as ``TaskMap.expand_mapped_task`` leaves behind, is in no time.
    """
    conditions: list[ColumnElement[bool]] = [ti.c.state.in_(FAILED_STATES), ti.c.end_date.is_not(None)]
    if since is not None:
        conditions.append(ti.c.end_date >= since)
    if until is not None:
        conditions.append(ti.c.end_date <= until)
    return and_(*conditions)


def is_of_failed_run(
    dag_id: str, run_id: ColumnElement[str], since: datetime | None, until: datetime | None
) -> ColumnElement[bool]:
    """Whether a run of the DAG has a task instance that failed in this time."""
    ti = task_instance.alias("failed")
    return run_id.in_(select(ti.c.run_id).where(ti.c.dag_id == dag_id, has_failed(ti, since, until)))


def any_failed(dag_id: str, run_id: str, session: Session) -> bool:
    """Whether any task instance of a dag run is failed or upstream_failed."""
    ti = task_instance
    of_run = (ti.c.dag_id == dag_id, ti.c.run_id == run_id, ti.c.state.in_(FAILED_STATES))
    return session.scalar(select(ti.c.id).where(*of_run).limit(1)) is not None


def last_failure(dag_id: str, task_id: str, since: datetime, session: Session) -> datetime | None:
    """Return the time of the last failure of a DAG, or of one of its tasks, since a moment."""
    ti = task_instance
    query = select(func.max(ti.c.end_date)).where(ti.c.dag_id == dag_id, has_failed(ti, since, None))
    found: datetime | None = session.scalar(query.where(ti.c.task_id == task_id) if task_id else query)
    return found
