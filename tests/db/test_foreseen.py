"""Comparing what a plan foresaw with what came, in the database."""

from __future__ import annotations

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import delete, update

from safe_clear_plugin.core.foreseen import Came
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.rerun_progress import progress
from tests.db.acting import clear, days, now, undo
from tests.db.finding_scenes import chain, etl, store_with_runs, work
from tests.support.factories import store_dag

pytestmark = pytest.mark.backend


def comparison(plan, session):
    session.rollback()
    found = progress(plan, now(), session).comparison
    session.rollback()
    return {came.value: number for came, number in found.counts.items()}, list(found.differences)


def put(session, run_state=None, **values):
    session.execute(update(TaskInstance).values(**values))
    if run_state:
        session.execute(update(DagRun).values(state=run_state))
    session.commit()


def test_cleared_task_instances_are_open_until_they_have_run(session):
    etl(session, work(), runs=2)
    plan = clear(days(1, 2))
    assert comparison(plan, session) == ({Came.OPEN: 2}, [])
    put(session, "success", state="success")
    assert comparison(plan, session) == ({Came.AS_FORESEEN: 2}, [])


def test_a_task_instance_that_is_gone_came_otherwise(session):
    etl(session, work(), runs=2)
    plan = clear(days(1, 2))
    session.execute(delete(TaskInstance).where(TaskInstance.run_id == "run_1"))
    put(session, "success", state="success")
    assert comparison(plan, session) == (
        {Came.AS_FORESEEN: 1, Came.OTHERWISE: 1},
        [("runs", "missing", 1)],
    )


def test_what_the_scheduler_is_to_create_is_compared_too(session):
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "success"}, state="success")
    dag = chain("etl", "a", "b")
    store_dag(dag, session=session)
    plan = clear(Selection("etl", run_id=(run.run_id,), task_regex="^a$"))
    assert comparison(plan, session) == ({Came.OPEN: 2}, [])
    put(session, "success", state="success")
    assert comparison(plan, session) == (
        {Came.AS_FORESEEN: 1, Came.OTHERWISE: 1},
        [("runs", "missing", 1)],
    )


def test_undone_runs_are_not_compared(session):
    etl(session, work(), runs=2)
    plan = clear(days(1, 2))
    assert comparison(undo(plan, "run_1"), session) == ({Came.OPEN: 1}, [])
