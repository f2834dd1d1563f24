"""What a plan says of ``dagrun_timeout`` and of deadlines, compared with Airflow's own clear."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.taskinstance import clear_task_instances
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
from sqlalchemy import func, select

from safe_clear_plugin.core.selection import Selection
from tests.db.acting import now, plan_of
from tests.db.finding_scenes import (
    chain,
    finding,
    one_run,
    store_with_runs,
)
from tests.support.factories import make_run, nobody, store_dag, task_instances

pytestmark = pytest.mark.backend


def test_dagrun_timeout_counts_from_the_next_start_or_the_old_one(session):
    dag = chain("etl", "a", "b", dagrun_timeout=timedelta(hours=2))
    [first] = store_with_runs(dag, session, {"a": "success", "b": "failed"})
    found = finding(plan_of(one_run(first)), "dagrun_timeout")
    assert (found.level, found.title) == (
        "info",
        "`dagrun_timeout` will start again for 1 run: 2 h from the start of each",
    )
    second = make_run(dag, session=session, run_id="second", state="running")
    second.start_date = now() - timedelta(hours=1)
    session.commit()
    found = finding(plan_of(Selection("etl", run_id=("run_1", "second"))), "dagrun_timeout")
    assert (found.level, found.count) == ("warn", 1)
    assert found.title.startswith("1 running run keeps its start and will time out at ")
    second.start_date = now() - timedelta(hours=3)
    session.commit()
    assert "the time of 1 is up already" in finding(plan_of(one_run(second)), "dagrun_timeout").title


@pytest.mark.one_database
def test_without_dagrun_timeout_there_is_no_finding(session):
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "failed"})
    assert finding(plan_of(one_run(run)), "dagrun_timeout") is None


def dag_with_deadline(reference):
    """Return a DAG whose runs have a deadline an hour after something."""
    alert = DeadlineAlert(reference=reference, interval=timedelta(hours=1), callback=AsyncCallback(nobody))
    return chain("etl", "a", deadline=alert)


@pytest.mark.one_database
@pytest.mark.parametrize("reference", ["DAGRUN_QUEUED_AT", "DAGRUN_LOGICAL_DATE"])
def test_a_deadline_on_which_airflow_s_clear_fails_refuses_the_plan(reference, session):
    """The installed Airflow clears too: the finding must agree with its clear."""
    store_dag(chain("bystander", "a"), session=session)  # Airflow rolls back once on the way, the bundle too
    [run] = store_with_runs(
        dag_with_deadline(getattr(DeadlineReference, reference)), session, {"a": "failed"}
    )
    assert session.scalar(select(func.count()).select_from(Deadline)) == 1
    due = session.scalar(select(Deadline.deadline_time))
    found = finding(plan_of(one_run(run)), "deadline_breaks_clear")
    session.expire_all()
    assert session.scalar(select(Deadline.deadline_time)) == due
    try:
        clear_task_instances(task_instances(run, session=session), session)
    except TypeError:
        assert (found.level, found.count) == ("refuse", 1)
    else:
        assert found is None
    session.rollback()
    keeps = plan_of(one_run(run, reset_dag_runs=False))
    assert finding(keeps, "deadline_breaks_clear") is None


def with_logical_date_deadline(session, state):
    """Store a run whose deadline is an hour after its logical date, which is tomorrow."""
    dag = dag_with_deadline(DeadlineReference.DAGRUN_LOGICAL_DATE)
    store_dag(chain("bystander", "a"), session=session)
    store_dag(dag, session=session)
    return make_run(dag, session=session, logical_date=now() + timedelta(days=1), state=state)


def test_a_failed_run_keeps_a_deadline_that_counts_from_its_logical_date(session):
    run = with_logical_date_deadline(session, "failed")
    due = session.scalar(select(Deadline.deadline_time))
    found = finding(plan_of(one_run(run)), "deadline_kept")
    assert (found.level, found.count) == ("info", 1)
    assert found.title.startswith("1 run keeps its deadline, at ")
    clear_task_instances(task_instances(run, session=session), session)
    session.flush()
    assert session.scalar(select(Deadline.deadline_time)) == due
    session.rollback()
    assert finding(plan_of(one_run(run)), "deadline_gone") is None


def test_a_succeeded_run_has_no_deadline_any_more(session):
    run = with_logical_date_deadline(session, "running")
    run.state, run.end_date = "success", now()
    session.flush()
    Deadline.prune_deadlines(session=session, conditions={DagRun.id: run.id})
    session.commit()
    plan = plan_of(one_run(run))
    found = finding(plan, "deadline_gone")
    assert (found.title, found.level) == ("1 run will re-run without a deadline", "info")
    assert finding(plan, "deadline_kept") is None
    clear_task_instances(task_instances(run, session=session), session)
    session.flush()
    assert session.scalar(select(func.count()).select_from(Deadline)) == 0
    session.rollback()


def test_a_run_that_stays_finished_has_no_deadline_to_lose(session):
    run = with_logical_date_deadline(session, "failed")
    plan = plan_of(one_run(run, reset_dag_runs=False))
    assert finding(plan, "deadline_kept") is None
    assert finding(plan, "deadline_gone") is None
