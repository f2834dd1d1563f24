"""Dag runs of a selection's range that have no task instance at all, as after ``airflow db clean``."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, run_conditions
from safe_clear_plugin.storage.tables import plan_run


def count_without_task_instances(plan_id: UUID, scope: Scope, session: Session) -> int:
    """Count them; a run of the plan has some."""
    ti = task_instance
    planned = exists_row(plan_run, plan_run.c.plan_id == plan_id, plan_run.c.run_id == dag_run.c.run_id)
    has_some = exists_row(ti, ti.c.dag_id == dag_run.c.dag_id, ti.c.run_id == dag_run.c.run_id)
    query = select(func.count()).where(run_conditions(scope), ~planned, ~has_some)
    return session.scalar(query) or 0
