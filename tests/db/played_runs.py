"""Compares the outcomes that a plan foresees with the ends that the scheduler gives its runs."""

from __future__ import annotations

from uuid import UUID

from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import delete, select

from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.db.acting import clear
from tests.support.factories import task_instances


def lose(session, run, *task_ids):
    """Delete task instances, as if their tasks had come after the run."""
    session.execute(
        delete(TaskInstance).where(
            TaskInstance.dag_id == run.dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.task_id.in_(task_ids),
        )
    )
    session.commit()
    session.expire_all()


def foreseen(plan, session):
    """Return the outcomes of the task instances by run, task and map index, and of the runs."""
    session.rollback()
    rows = plan_task_instance
    tis = select(rows.c.run_id, rows.c.task_id, rows.c.map_index, rows.c.outcome).where(
        rows.c.plan_id == UUID(plan.id)
    )
    runs = select(plan_run.c.run_id, plan_run.c.outcome).where(plan_run.c.plan_id == UUID(plan.id))
    return (
        {(row.run_id, row.task_id, row.map_index): row.outcome for row in session.execute(tis)},
        dict(session.execute(runs).all()),
    )


def come_out(plan, session):
    """Clear, let all scheduled task instances succeed until nothing changes, and return the final states."""
    planned, runs = foreseen(plan, session)
    clear(plan)
    for run_id in sorted(runs):
        run_to_the_end(plan.dag_id, run_id, session)
    session.expire_all()
    ends = {"success": "runs", "failed": "fails", "running": "never_starts"}
    of_runs = {run_id: ends[str(run_of(plan.dag_id, run_id, session).state)] for run_id in runs}
    names = {"success": "runs", "None": "never_starts"}
    came = {
        (ti.run_id, ti.task_id, ti.map_index): names.get(str(ti.state), str(ti.state))
        for run_id in runs
        for ti in task_instances(run_of(plan.dag_id, run_id, session), session=session)
    }
    return {key: came[key] for key in planned if key in came}, of_runs


def run_of(dag_id, run_id, session):
    """Return a dag run."""
    return session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()


def run_to_the_end(dag_id, run_id, session):
    """Play the scheduler of a run: each task instance that it schedules succeeds."""
    session.rollback()
    run = run_of(dag_id, run_id, session)
    run.dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    run.state = "running"
    for _ in range(15):
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        for ti in ready:
            ti.state = "success"
        session.flush()
        if str(run.state) in ("success", "failed"):
            break
    session.commit()


def holds(plan, session):
    """Compare the plan with the final states; return the outcomes."""
    expected = foreseen(plan, session)
    assert come_out(plan, session) == expected
    return expected
