"""What a plan says of its task time and its end."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset
from sqlalchemy import select

from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.acting import ME, days, plan_of
from tests.db.finding_scenes import (
    etl,
    findings_by_code,
    work,
)
from tests.support.factories import set_states

pytestmark = pytest.mark.backend


def lasting(session, run, seconds):
    start = run.run_after + timedelta(minutes=1)
    set_states(
        run,
        {"work": "success"},
        session=session,
        start_date=start,
        end_date=start + timedelta(seconds=seconds),
    )


def test_the_cost_is_that_of_past_successes(session):
    etl(session, work(), runs=10, max_active_runs=2)
    for number, run in enumerate(session.scalars(select(DagRun).order_by(DagRun.logical_date)).all(), 1):
        lasting(session, run, 600 * number)
    when = datetime(2026, 5, 1, 3, 0, tzinfo=timezone.utc)
    plan = make_plan(days(1, 4), ME, when)
    estimate = plan.estimate
    # The median of 10 to 100 minutes by nearest rank is 50, the 90th percentile 90.
    assert (estimate.task_seconds, estimate.task_seconds_slow) == (4 * 3_000, 4 * 5_400)
    assert (estimate.seconds, estimate.seconds_slow) == (2 * 3_000, 2 * 5_400)
    assert (estimate.successes, estimate.runs_looked_at) == (10, 10)
    assert estimate.held_by == "max_active_runs"
    finding = findings_by_code(plan)["cost"]
    assert finding.title == "About 3 h 20 min of task time, done by about 04:40 UTC if cleared now"
    assert "Based on 10 successes in the last 10 runs." in finding.detail


def test_tasks_that_never_succeeded_have_no_estimate(session):
    etl(session, work())
    for run in session.scalars(select(DagRun)).all():
        set_states(run, {"work": "failed"}, session=session)
    plan = plan_of(days(1, 2))
    assert findings_by_code(plan)["cost"].title == "No estimate: none of these tasks succeeded recently"
    assert plan.estimate.seconds is None
    assert plan.estimate.unknown_tasks == ("work",)


def test_a_task_without_successes_is_named(session):
    def build():
        _ = EmptyOperator(task_id="work") >> EmptyOperator(task_id="load")

    etl(session, build)
    for run in session.scalars(select(DagRun)).all():
        set_states(run, {"load": "failed"}, session=session)
    assert "Not included: 2 task instances of `load`" in findings_by_code(plan_of(days(1, 2)))["cost"].detail


@pytest.mark.one_database
def test_a_paused_dag_is_never_done(session):
    etl(session, work(), is_paused=True)
    plan = plan_of(days(1, 2))
    assert plan.estimate.seconds is None
    assert plan.estimate.task_seconds == 120
    assert findings_by_code(plan)["cost"].title == "About 2 min of task time"


def test_task_instances_that_fail_immediately_update_nothing_and_cost_nothing(session):
    def build():
        _ = EmptyOperator(task_id="broken") >> EmptyOperator(task_id="work", outlets=[Asset("sales")])

    etl(session, build, runs=3)
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run_2")).one()
    set_states(run, {"broken": "failed"}, session=session)
    findings = findings_by_code(plan_of(days(1, 3, task_regex="^work$")))
    assert findings["assets"].count == 2
    assert findings["cost"].count == 2
