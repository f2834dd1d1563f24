"""The DAG version that a dag run uses when it re-runs, and whether a clear moves it there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, case, cast, literal, true

from safe_clear_plugin.airflow_api.dag.dag_versions import VERSIONLESS_RUNS_MOVE
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run


def moves_to_latest(on_latest: bool) -> ColumnElement[bool]:
    """Whether ``clear_task_instances`` moves a run to the latest DAG version (``use_latest_version``)."""
    if on_latest:
        return true()
    if VERSIONLESS_RUNS_MOVE:
        return dag_run.c.created_dag_version_id.is_(None)
    return literal(value=False)


def uses_version(on_latest: bool, latest: UUID | ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the DAG version that a run uses when it re-runs (``DBDagBag._version_from_dag_run``)."""
    own = and_(
        ~moves_to_latest(on_latest),
        dag_run.c.bundle_version.is_not(None),
        dag_run.c.bundle_version != "",
        dag_run.c.created_dag_version_id.is_not(None),
    )
    if isinstance(latest, UUID):
        latest = cast(literal(latest, Uuid()), Uuid())
    return case((own, dag_run.c.created_dag_version_id), else_=latest)
