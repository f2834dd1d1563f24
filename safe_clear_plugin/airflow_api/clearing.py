"""Clearing and reading back dag runs, on a session of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.state import DagRunState
from sqlalchemy import FromClause, Select, select
from sqlalchemy.orm import Session, lazyload
from sqlalchemy.orm.attributes import set_committed_value

from safe_clear_plugin.airflow_api.archiving import archiving_together
from safe_clear_plugin.airflow_api.base import dag_run, task_instance
from safe_clear_plugin.airflow_api.flushing import writing_together
from safe_clear_plugin.airflow_api.readahead import reading_ahead

TaskInstanceKey = tuple[str, str, int]


def clear(
    dag_id: str,
    run_pks: Sequence[int],
    planned_ids: Select[Any],
    *,
    reset_dag_runs: bool,
    on_latest: bool,
    session: Session,
) -> int:
    """Hand the task instances with the ids that ``planned_ids`` selects to ``clear_task_instances``.

    ``run_pks`` are the primary keys of their dag runs. Returns how many task instances there were.
    """
    wanted: FromClause = planned_ids.subquery()
    task_instances = _load(run_pks, wanted, session)
    # A run that moves to the latest DAG version is flushed, and its task instances are read again.
    moves = on_latest or any(ti.dag_run.created_dag_version_id is None for ti in task_instances)
    with (
        reading_ahead(dag_id, task_instances, run_pks, wanted, session) as batch,
        archiving_together(task_instances, wanted, batch, session),
        writing_together(session, read_on=moves),
    ):
        clear_task_instances(
            task_instances,
            session,
            dag_run_state=DagRunState.QUEUED if reset_dag_runs else False,
            run_on_latest_version=on_latest,
        )
        session.flush()
    return len(task_instances)


def _load(run_pks: Sequence[int], wanted: FromClause, session: Session) -> list[TaskInstance]:
    """Load task instances afresh, so that no object read before the locks is used, and each dag run once."""
    fresh = {"populate_existing": True}
    runs = {
        run.run_id: run
        for run in session.scalars(select(DagRun).where(DagRun.id.in_(run_pks)).execution_options(**fresh))
    }
    task_instances = list(
        session.scalars(
            select(TaskInstance)
            .join(wanted, TaskInstance.id == wanted.c[0])
            .options(lazyload(TaskInstance.dag_run))
            .execution_options(**fresh)
        )
    )
    for task_instance_ in task_instances:
        set_committed_value(task_instance_, "dag_run", runs[task_instance_.run_id])
    return sorted(task_instances, key=lambda ti: (ti.dag_run.id, ti.task_id, ti.map_index))


def read_task_instances(
    dag_id: str, run_ids: Sequence[str], session: Session
) -> dict[TaskInstanceKey, dict[str, Any]]:
    """Read what a plan speaks of, for every task instance of the runs, past the session's own objects."""
    ti = task_instance
    rows = session.execute(
        select(
            ti.c.run_id,
            ti.c.task_id,
            ti.c.map_index,
            ti.c.id,
            ti.c.state,
            ti.c.try_number,
            ti.c.max_tries,
            ti.c.dag_version_id,
        ).where(ti.c.dag_id == dag_id, ti.c.run_id.in_(run_ids))
    )
    return {
        (row.run_id, row.task_id, row.map_index): {
            "id": row.id,
            "state": row.state,
            "try_number": row.try_number,
            "max_tries": row.max_tries,
            "dag_version_id": row.dag_version_id,
        }
        for row in rows
    }


def read_runs(run_pks: Sequence[int], session: Session) -> dict[str, dict[str, Any]]:
    """Read what a plan speaks of, for the dag runs with these ids, by run id."""
    rows = session.execute(
        select(
            dag_run.c.run_id,
            dag_run.c.state,
            dag_run.c.clear_number,
            dag_run.c.created_dag_version_id,
            dag_run.c.bundle_version,
        ).where(dag_run.c.id.in_(run_pks))
    )
    return {
        row.run_id: {
            "state": row.state,
            "clear_number": row.clear_number,
            "dag_version_id": row.created_dag_version_id,
            "bundle_version": row.bundle_version,
        }
        for row in rows
    }
