"""DAGs by tag, by owner, and by the time of a failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow.models.dag import DagModel, DagTag
from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.selection.failed_task_instances import has_failed


def dags_with(
    session: Session, *, tags: Sequence[str] = (), owners: Sequence[str] = (), in_use: bool = True
) -> list[str]:
    """Return the sorted ids of the DAGs with one of the tags and one of the owners; without any, of all DAGs.

    With ``in_use``, only DAGs that Airflow still parses.
    """
    query = select(DagModel.dag_id, DagModel.owners).order_by(DagModel.dag_id)
    if in_use:
        query = query.where(~DagModel.is_stale)
    if tags:
        query = query.where(DagModel.dag_id.in_(select(DagTag.dag_id).where(DagTag.name.in_(tags))))
    wanted = set(owners)
    return [row.dag_id for row in session.execute(query) if not wanted or wanted & _owners(row.owners)]


def dags_with_failures(since: datetime | None, until: datetime | None, session: Session) -> set[str]:
    """Return the ids of the DAGs with a task instance that failed in this time."""
    failed = select(task_instance.c.dag_id).where(has_failed(task_instance, since, until)).distinct()
    return set(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(failed))))


def _owners(text: str | None) -> set[str]:
    return {one.strip() for one in (text or "").split(",") if one.strip()}
