"""Task instances that a timeout or ``fail_fast`` skipped, made and judged by Airflow's own functions."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, _stop_remaining_tasks
from airflow.providers.standard.operators.empty import EmptyOperator
from sqlalchemy import select, update

from safe_clear_plugin.services.planning.derived_plans import plan_with_field
from safe_clear_plugin.storage.findings.affected_task_instances import affected_rows
from tests.db.acting import ME, clear, now, plan_of
from tests.db.finding_scenes import all_days, etl, findings_by_code
from tests.support.factories import serialized, set_states

pytestmark = pytest.mark.backend

FAILED = {"state": ("failed", "upstream_failed")}


def three():
    EmptyOperator(task_id="broken")
    _ = EmptyOperator(task_id="load") >> EmptyOperator(task_id="after")


def one_run(session):
    return session.scalars(select(DagRun)).one()


def of_task(session, task_id):
    return session.scalars(select(TaskInstance).where(TaskInstance.task_id == task_id)).one()


def timed_out(session, states):
    """Store a run in these states whose time is up, and let the scheduler see it."""
    etl(session, three, runs=1, dagrun_timeout=timedelta(hours=1))
    run = one_run(session)
    set_states(run, states, session=session)
    run.state = "running"
    run.start_date, run.end_date = run.run_after, None
    session.get_one(DagModel, "etl").relative_fileloc = "etl.py"
    session.commit()
    SchedulerJobRunner(job=Job(), executors=[])._schedule_dag_run(run, session)
    session.commit()
    assert one_run(session).state == "failed"


def failed_fast(session, states, *, build=three):
    """Store a run in these states in which ``broken`` fails, and stop it as the api-server does."""
    etl(session, build, runs=1, fail_fast=True)
    run = one_run(session)
    set_states(run, {"broken": "failed", **states}, session=session)
    teardowns = dict.fromkeys(serialized("etl", session=session).task_dict, False)
    _stop_remaining_tasks(
        task_instance=of_task(session, "broken"), task_teardown_map=teardowns, session=session
    )
    run.state = "failed"
    session.commit()


def becomes(session):
    """Let everything that is cleared succeed, and return what Airflow makes of the run."""
    session.rollback()
    session.execute(update(TaskInstance).where(TaskInstance.state.is_(None)).values(state="success"))
    run = one_run(session)
    run.state, run.dag = "running", serialized("etl", session=session)
    run.update_state(session=session)
    state = str(run.state)
    session.rollback()
    return state


def states(session):
    session.rollback()
    return {ti.task_id: ti.state for ti in session.scalars(select(TaskInstance))}


def test_what_timed_out_stays_skipped_and_the_run_succeeds_without_it(session):
    timed_out(session, {"broken": "failed", "load": "running", "after": None})
    plan = clear(all_days(**FAILED))
    finding = findings_by_code(plan)["skipped_stay"]
    assert (finding.level, finding.count) == ("warn", 2)
    assert finding.title == (
        "2 task instances outside this plan will stay Skipped in 1 run: `after` and `load`"
    )
    rows = affected_rows("skipped_stay", UUID(plan.id), "etl", session)
    assert [(row.task_id, row.related_task_id) for row in rows] == [("after", None), ("load", None)]
    assert becomes(session) == "success"
    assert states(session) == {"broken": None, "load": "skipped", "after": "skipped"}


def test_a_task_that_skipped_itself_before_the_timeout_is_not_reported(session):
    timed_out(session, {"broken": "failed", "load": "skipped", "after": "skipped"})
    assert "skipped_stay" not in findings_by_code(plan_of(all_days(**FAILED)))


def test_the_preview_of_what_failed_and_what_is_skipped_takes_both(session):
    timed_out(session, {"broken": "failed", "load": "running", "after": None})
    narrow = plan_of(all_days(task_regex="^broken$"))
    assert findings_by_code(narrow)["skipped_stay"].widen == ("failed_and_skipped",)
    wide = plan_with_field(narrow, "failed_and_skipped", ME, now())
    assert "skipped_stay" not in findings_by_code(wide)
    clear(wide)
    assert states(session) == {"broken": None, "load": None, "after": None}


def test_what_fail_fast_skipped_stays_skipped(session):
    failed_fast(session, {"load": None, "after": None})
    plan = clear(all_days(**FAILED))
    finding = findings_by_code(plan)["skipped_stay"]
    # What comes after it is explained by it.
    assert "`load`" in finding.title
    assert finding.count == 1
    assert becomes(session) == "success"


def test_what_skipped_itself_before_the_failure_is_not_reported(session):
    failed_fast(session, {"load": "skipped", "after": "skipped"})
    run = one_run(session)
    set_states(run, {"load": "skipped"}, session=session, pid=7)
    assert "skipped_stay" not in findings_by_code(plan_of(all_days(**FAILED)))


def test_fail_fast_ends_what_is_unfinished_beside_the_plan(session):
    failed_fast(session, {"load": "success", "after": "success"})
    assert findings_by_code(plan_of(all_days(**FAILED)))["fail_fast"].level == "info"
    set_states(one_run(session), {"after": "scheduled"}, session=session)
    finding = findings_by_code(plan_of(all_days(**FAILED)))["fail_fast"]
    assert (finding.level, finding.count) == ("warn", 1)
    assert "1 unfinished task instance outside this plan" in finding.title


def test_a_dag_without_fail_fast_or_timeout_is_not_asked(session):
    etl(session, three, runs=1)
    set_states(one_run(session), {"broken": "failed", "load": "skipped"}, session=session)
    assert not {"fail_fast", "skipped_stay"} & findings_by_code(plan_of(all_days(**FAILED))).keys()
