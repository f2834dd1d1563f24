"""Calling Airflow's ``clear_task_instances``, on a session of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.state import DagRunState
from sqlalchemy import FromClause, Select, select
from sqlalchemy.orm import Session, lazyload
from sqlalchemy.orm.attributes import set_committed_value

from safe_clear_plugin.airflow_api.clear.related_rows import RelatedRows
from safe_clear_plugin.airflow_api.clear.speedups import speed_up_clear
from safe_clear_plugin.airflow_api.platform.joins import is_one_of


def clear(
    dag_id: str,
    dag_runs: Sequence[DagRun],
    planned_ids: Select[Any],
    *,
    related: RelatedRows,
    reset_dag_runs: bool,
    on_latest: bool,
    session: Session,
) -> int:
    """Hand the task instances with the ids that ``planned_ids`` selects to ``clear_task_instances``.

    ``dag_runs`` are their runs, loaded by
    :func:`~safe_clear_plugin.airflow_api.clear.locks.load_dag_runs`.
    Returns how many task instances there were.
    """
    wanted: FromClause = planned_ids.subquery()
    task_instances = _load(dag_runs, planned_ids, session)
    # A run that moves to the latest DAG version is flushed, and its task instances are read again.
    moves = on_latest or any(ti.dag_run.created_dag_version_id is None for ti in task_instances)
    with speed_up_clear(dag_id, task_instances, wanted, related, session, reads_again=moves):
        clear_task_instances(
            task_instances,
            session,
            dag_run_state=DagRunState.QUEUED if reset_dag_runs else False,
            run_on_latest_version=on_latest,
        )
        session.flush()
    return len(task_instances)


def _load(dag_runs: Sequence[DagRun], planned_ids: Select[Any], session: Session) -> list[TaskInstance]:
    """Load task instances afresh, so that no object read before the locks is used, each with its dag run."""
    runs = {run.run_id: run for run in dag_runs}
    task_instances = list(
        session.scalars(
            select(TaskInstance)
            .where(is_one_of(TaskInstance.id, planned_ids))
            .options(lazyload(TaskInstance.dag_run))
            .execution_options(populate_existing=True)
        )
    )
    for task_instance_ in task_instances:
        set_committed_value(task_instance_, "dag_run", runs[task_instance_.run_id])
    return sorted(task_instances, key=lambda ti: (ti.dag_run.id, ti.task_id, ti.map_index))
