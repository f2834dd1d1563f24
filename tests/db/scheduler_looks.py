"""The scheduler's own look at the dag runs of one DAG, and a plan's foresight of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from airflow.executors.local_executor import LocalExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.tables import plan_task_instance

Key = tuple[str, str, int]

CREATES, RESTORES, REMOVES = "scheduler_creates", "scheduler_restores", "scheduler_removes"


def look(dag_id: str = "etl", rounds: int = 1) -> None:
    """Have the scheduler start the queued runs, and look at each unfinished one as often as asked.

    A task that does nothing is a success as soon as the scheduler starts it.
    """
    for _ in range(rounds):
        with create_session(scoped=False) as session:
            runner = SchedulerJobRunner(job=Job(), executors=[LocalExecutor()])
            runner.job.max_tis_per_query = 512
            session.execute(
                update(DagRun)
                .where(DagRun.dag_id == dag_id, DagRun.state == "queued")
                .values(_state="running")
            )
            runs = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.state == "running")
            for run in session.scalars(runs.order_by(DagRun.id)).all():
                runner._schedule_dag_run(run, session)
                session.flush()


def live(session: Session, dag_id: str = "etl") -> dict[Key, Any]:
    """Return the DAG's task instances as they are now."""
    session.rollback()
    rows = session.execute(select(task_instance).where(task_instance.c.dag_id == dag_id)).all()
    session.rollback()
    return {(row.run_id, row.task_id, row.map_index): row for row in rows}


def states(session: Session, dag_id: str = "etl") -> dict[Key, str | None]:
    """Return their states."""
    return {key: row.state for key, row in live(session, dag_id).items()}


def planned(plan: PlanSummary, session: Session) -> dict[Key, Any]:
    """Return the plan's rows."""
    session.rollback()
    rows = session.execute(
        select(plan_task_instance).where(plan_task_instance.c.plan_id == UUID(plan.id))
    ).all()
    session.rollback()
    return {(row.run_id, row.task_id, row.map_index): row for row in rows}


def by_scheduler(plan: PlanSummary, session: Session) -> dict[tuple[str, str, int], str]:
    """Return the effects that the scheduler is foreseen to have, without those of the clear."""
    rows = planned(plan, session)
    return {key: row.effect for key, row in rows.items() if row.effect.startswith("scheduler_")}


def came(before: dict[Key, Any], cleared: dict[Key, Any], now: dict[Key, Any]) -> dict[Key, str]:
    """Return the effects that came, of those that the clear did not have itself, told by the rows."""
    found = dict.fromkeys(now.keys() - cleared.keys(), CREATES)
    for key in now.keys() & before.keys():
        was, is_now = cleared[key].state, now[key].state
        if cleared[key].id != before[key].id or was == is_now:
            continue
        if is_now == "removed":
            found[key] = REMOVES
        elif was == "removed":
            found[key] = RESTORES
    return found


def look_once_without_starting(session: Session, dag_id: str = "etl") -> None:
    """Have the scheduler bring the queued runs up to the latest version, and start nothing yet."""
    session.rollback()
    with create_session(scoped=False) as own:
        runner = SchedulerJobRunner(job=Job(), executors=[LocalExecutor()])
        runs = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.state.in_(("queued", "running")))
        for run in own.scalars(runs.order_by(DagRun.id)).all():
            run.dag = runner.scheduler_dag_bag.get_dag_for_run(dag_run=run, session=own)
            runner._verify_integrity_if_dag_changed(run, own)
