"""What a plan says of task instances that succeeded, or that can never run."""

from __future__ import annotations

import pytest
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from sqlalchemy import select

from tests.db.acting import clear, plan_of
from tests.db.finding_scenes import (
    chain,
    finding,
    one_run,
    store_with_runs,
)
from tests.support.factories import store_dag, task_instances

pytestmark = pytest.mark.backend


def test_succeeded_task_instances_run_again(session):
    [run] = store_with_runs(chain("etl", "a", "b", "c"), session, {"a": "success", "b": "failed", "c": None})
    found = finding(plan_of(one_run(run)), "success_redone")
    assert (found.level, found.count) == ("warn", 1)
    assert found.title == "1 of 3 already succeeded and will run again"
    assert found.detail.endswith("The others: 1 No Status, 1 Failed.")
    assert finding(plan_of(one_run(run, state=("failed", "none"))), "success_redone") is None
    assert finding(plan_of(one_run(run, task_regex="^a$")), "success_redone").title == (
        "The only task instance already succeeded and will run again"
    )


def test_a_task_that_is_no_longer_in_the_dag_becomes_removed(session):
    [run] = store_with_runs(
        chain("etl", "a", "b"), session, {"a": "success", "b": "success"}, state="success"
    )
    store_dag(chain("etl", "a"), session=session)
    plan = plan_of(one_run(run))
    found = finding(plan, "not_in_dag")
    assert found.title == (
        "1 cleared task instance will be marked Removed: `b` is not in the Dag version used in 1 run"
    )
    clear(plan)
    session.expire_all()
    again = session.scalars(select(DagRun).where(DagRun.run_id == run.run_id)).one()
    again.dag = DBDagBag(load_op_links=False).get_dag_for_run(again, session=session)
    again.task_instance_scheduling_decisions(session=session)
    assert {ti.task_id: ti.state for ti in task_instances(again, session=session)} == {
        "a": None,
        "b": "removed",
    }
    session.rollback()
    assert finding(plan_of(one_run(run, exclude_task_id=("b",))), "not_in_dag") is None
