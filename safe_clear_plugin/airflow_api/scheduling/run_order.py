"""In which order the scheduler examines dag runs, and when a DAG's failed runs pause it."""

from __future__ import annotations

from datetime import datetime

from airflow.models.backfill import BackfillDagRun
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables


def examined_at_once() -> int:
    """Return how many running dag runs a loop of a scheduler examines."""
    number: int = DagRun.DEFAULT_DAGRUNS_TO_EXAMINE
    return number


def newest_run_states(plan: PlanTables, dag_id: str, number: int, session: Session) -> list[str]:
    """Return the states after the clear of a DAG's newest runs, as ``_check_last_n_dagruns_failed`` sorts."""
    runs = plan.runs
    planned = and_(runs.c.plan_id == plan.plan_id, runs.c.run_id == dag_run.c.run_id)
    query = (
        select(func.coalesce(runs.c.after_state, dag_run.c.state))
        .select_from(dag_run.outerjoin(runs, planned))
        .where(dag_run.c.dag_id == dag_id)
        .order_by(dag_run.c.run_after.desc(), dag_run.c.id.desc())
        .limit(number)
    )
    return list(session.scalars(query))


def count_backfill_runs(plan: PlanTables, session: Session) -> int:
    """Count the plan's runs that the scheduler examines last, since a backfill has numbered them."""
    number = func.count(plan.runs.c.dag_run_id.distinct())
    numbered = BackfillDagRun.dag_run_id == plan.runs.c.dag_run_id
    return session.scalar(select(number).where(*plan.is_unfinished_run(), numbered)) or 0


def count_running_first(now: datetime, session: Session) -> int:
    """Count the running runs of no backfill, up to as many as ``get_running_dag_runs_to_examine`` takes."""
    found = (
        select(dag_run.c.id)
        .join(DagModel, DagModel.dag_id == dag_run.c.dag_id)
        .outerjoin(BackfillDagRun, BackfillDagRun.dag_run_id == dag_run.c.id)
        .where(
            dag_run.c.state == "running",
            dag_run.c.run_after <= now,
            ~DagModel.is_paused,
            ~DagModel.is_stale,
            BackfillDagRun.dag_run_id.is_(None),
        )
        .limit(examined_at_once())
    )
    return session.scalar(select(func.count()).select_from(found.subquery())) or 0
