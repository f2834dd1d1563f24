"""Runs and task instances that never start, compared with Airflow's own scheduling after the clear."""

from __future__ import annotations

import shlex
from uuid import UUID

import pytest
from airflow.api_fastapi.core_api.routes.public.backfills import cancel_backfill, unpause_backfill
from airflow.cli.cli_parser import get_parser
from airflow.executors import executor_loader
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.executor_utils import ExecutorName
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.backfill import Backfill
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.models.team import Team
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.utils.state import DagRunState
from fastapi import HTTPException
from sqlalchemy import select, update

from safe_clear_plugin.storage.findings.affected_task_instances import affected_rows
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.db.acting import clear, days, plan_of, undo
from tests.db.finding_scenes import (
    add_backfill,
    all_days,
    etl,
    findings_by_code,
    started_by_airflow,
    work,
)
from tests.support.factories import BUNDLE_NAME, set_states

pytestmark = pytest.mark.backend


def planned(plan, table, session):
    """Return the outcome and its reason of each run, or of each task instance by its run."""
    session.rollback()
    rows = session.execute(select(table.c.run_id, table.c.outcome, table.c.outcome_reason))
    found = {row.run_id: (row.outcome, row.outcome_reason) for row in rows}
    session.rollback()
    return found


def runs_of(session):
    return list(session.scalars(select(DagRun).where(DagRun.dag_id == "etl").order_by(DagRun.logical_date)))


def scheduler():
    executor = BaseExecutor(parallelism=32)
    executor.name = ExecutorName("airflow.executors.local_executor.LocalExecutor", "LocalExecutor")
    return SchedulerJobRunner(job=Job(), executors=[executor])


def queued_by_airflow(session):
    """Have the scheduler schedule what is cleared, and return what it would hand to an executor."""
    session.rollback()
    session.execute(update(DagRun).values(state="running"))
    session.execute(update(TaskInstance).where(TaskInstance.state.is_(None)).values(state="scheduled"))
    session.commit()
    queued = scheduler()._executable_task_instances_to_queued(32, session)
    keys = {(ti.run_id, ti.task_id) for ti in queued}
    session.rollback()
    return keys


# Backfills


def backfilled(session, *, runs=3, **options):
    """Store ``etl`` with a run a day, of which the first two are those of a backfill."""
    etl(session, work(), runs=runs, schedule="@daily", catchup=False)
    return add_backfill(session, runs_of(session)[:2], max_active_runs=5, **options)


def unpause(backfill, session):
    session.rollback()
    unpaused = unpause_backfill(backfill, session)
    session.commit()
    return unpaused


def test_runs_of_a_cancelled_backfill_never_start(session):
    backfill = backfilled(session)
    cancel_backfill(backfill.id, session)
    session.commit()
    plan = clear(all_days())
    finding = findings_by_code(plan)["backfill_ended"]
    assert (finding.level, finding.count) == ("acknowledge", 2)
    assert finding.title == (
        "2 runs belong to a backfill that is over, and their 2 task instances will never start"
    )
    stuck = ("never_starts", "backfill_ended")
    assert planned(plan, plan_run, session) == {"run_1": stuck, "run_2": stuck, "run_3": ("runs", None)}
    assert planned(plan, plan_task_instance, session)["run_1"] == stuck
    assert (plan.outcomes["never_starts"], plan.outcomes["runs"]) == (2, 1)
    assert started_by_airflow(session) == {"run_3"}
    with pytest.raises(HTTPException) as refused:
        unpause(backfill.id, session)
    assert refused.value.status_code == 409
    assert "backfill_paused" not in findings_by_code(plan)


def test_the_task_instances_of_a_cancelled_backfill_can_be_listed(session):
    cancel_backfill(backfilled(session).id, session)
    session.commit()
    plan = plan_of(all_days())
    rows = affected_rows("backfill_ended", UUID(plan.id), "etl", session)
    assert [(row.run_id, row.task_id, row.related_task_id) for row in rows] == [
        ("run_1", "work", None),
        ("run_2", "work", None),
    ]


def test_a_paused_backfill_is_over_with_its_last_run(session):
    backfill = backfilled(session, is_paused=True)
    plan = plan_of(all_days())
    assert findings_by_code(plan)["backfill_ended"].count == 2
    scheduler()._mark_backfills_complete()
    clear(all_days())
    with pytest.raises(HTTPException) as refused:
        unpause(backfill.id, session)
    assert refused.value.status_code == 409
    assert started_by_airflow(session) == {"run_3"}


def test_a_paused_backfill_with_an_unfinished_run_can_be_unpaused(session):
    backfill = backfilled(session, is_paused=True)
    unfinished = runs_of(session)[1]
    unfinished.state = DagRunState.QUEUED
    session.commit()
    plan = plan_of(days(1, 1))
    assert "backfill_ended" not in findings_by_code(plan)
    assert findings_by_code(plan)["backfill_paused"].count == 1
    assert planned(plan, plan_run, session) == {"run_1": ("runs", None)}
    scheduler()._mark_backfills_complete()
    clear(plan)
    assert started_by_airflow(session) == set()
    unpause(backfill.id, session)
    assert started_by_airflow(session) == {"run_1", "run_2"}


def test_a_backfill_that_was_never_paused_stops_nothing(session):
    backfill = backfilled(session)
    scheduler()._mark_backfills_complete()
    session.expire_all()
    assert session.get_one(Backfill, backfill.id).completed_at
    plan = clear(all_days())
    assert "backfill_ended" not in findings_by_code(plan)
    assert started_by_airflow(session) == {"run_1", "run_2", "run_3"}


def test_runs_that_are_running_go_on_though_their_backfill_is_over(session):
    backfill = backfilled(session)
    runs_of(session)[0].state = DagRunState.RUNNING
    session.commit()
    cancel_backfill(backfill.id, session)
    session.commit()
    plan = plan_of(days(1, 2))
    assert findings_by_code(plan)["backfill_ended"].count == 1
    assert planned(plan, plan_run, session)["run_1"] == ("runs", None)


def run_command(finding, session):
    session.rollback()
    words = shlex.split(finding.remedy.split("`")[1])
    arguments = get_parser().parse_args(words[1:])
    arguments.func(arguments)


@pytest.mark.parametrize("cleared", [False, True])
def test_a_new_backfill_runs_what_a_clear_leaves_queued(session, cleared):
    cancel_backfill(backfilled(session).id, session)
    session.commit()
    plan = clear(days(1, 2)) if cleared else plan_of(days(1, 2))
    finding = findings_by_code(plan)["backfill_ended"]
    if cleared:
        # Runs that are queued are in flight for a backfill.
        run_command(finding, session)
        assert started_by_airflow(session) == set()
        scheduler()._mark_backfills_complete()
        undo(plan)
    run_command(finding, session)
    assert started_by_airflow(session) == {"run_1", "run_2"}
    states = select(TaskInstance.state).where(TaskInstance.run_id.in_(["run_1", "run_2"]))
    assert list(session.scalars(states)) == [None, None]


def test_an_upstream_failure_ends_nothing_in_a_run_that_never_starts(session):
    def build():
        _ = EmptyOperator(task_id="broken") >> EmptyOperator(task_id="work")

    etl(session, build, runs=2, schedule="@daily")
    for run in runs_of(session):
        set_states(run, {"broken": "failed"}, session=session)
    backfill = add_backfill(session, runs_of(session)[:1], max_active_runs=5)
    cancel_backfill(backfill.id, session)
    session.commit()
    plan = plan_of(all_days(task_regex="^work$"))
    assert findings_by_code(plan)["upstream_failed"].count == 1
    assert planned(plan, plan_task_instance, session) == {
        "run_1": ("never_starts", "backfill_ended"),
        "run_2": ("upstream_failed", "trigger_rule"),
    }


def test_a_plan_of_which_a_part_never_starts_has_no_end(session):
    backfill = backfilled(session)
    assert plan_of(all_days()).estimate.seconds is not None
    cancel_backfill(backfill.id, session)
    session.commit()
    plan = plan_of(all_days())
    assert plan.estimate.seconds is None
    assert plan.estimate.task_seconds == 60
    assert plan_of(days(3, 3)).estimate.seconds is not None


# Pools and executors


@pytest.fixture
def teams(session, monkeypatch):
    """Give Airflow two teams, and the DAGs of the tests to team ``a``."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    bundle = session.merge(DagBundleModel(name=BUNDLE_NAME))
    session.add(Team(name="b"))
    bundle.teams = [Team(name="a")]
    session.commit()


def make_pool(session, team, slots=8):
    Pool.create_or_update_pool("gpu", slots, "", include_deferred=False, team_name=team, session=session)
    session.commit()


def test_the_pool_of_another_team_blocks_its_tasks(session, teams):
    make_pool(session, "b")
    etl(session, both)
    plan = clear(all_days())
    finding = findings_by_code(plan)["pool_blocks"]
    assert finding.title == "2 task instances can never start: pool gpu belongs to another team"
    assert "latest version" in finding.remedy
    assert plan.outcomes["never_starts"] == 2
    assert plan.estimate.seconds is None
    assert planned(plan, plan_run, session) == dict.fromkeys(["run_1", "run_2"], ("never_starts", "pool"))
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"other"}


@pytest.mark.parametrize("team", ["a", None])
def test_the_pool_of_the_own_team_or_of_none_blocks_nothing(session, teams, team):
    make_pool(session, team)
    etl(session, both)
    plan = clear(all_days())
    assert "pool_blocks" not in findings_by_code(plan)
    assert plan.outcomes["never_starts"] == 0
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"work", "other"}


def test_the_team_of_a_pool_does_not_matter_where_there_are_no_teams(session, teams, monkeypatch):
    make_pool(session, "b")
    etl(session, both)
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "False")
    plan = clear(all_days())
    assert "pool_blocks" not in findings_by_code(plan)
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"work", "other"}


def both():
    EmptyOperator(task_id="work", pool="gpu")
    EmptyOperator(task_id="other")


def test_the_task_instances_without_a_pool_never_start_until_there_is_one(session):
    etl(session, both)
    plan = clear(all_days())
    assert plan.outcomes["never_starts"] == 2
    rows = affected_rows("pool_blocks", UUID(plan.id), "etl", session)
    assert [(row.run_id, row.task_id) for row in rows] == [("run_1", "work"), ("run_2", "work")]
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"other"}
    make_pool(session, None)
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"work", "other"}


@pytest.mark.parametrize(("executor", "starts"), [("LocalExecutor", True), ("CeleryExecutor", False)])
def test_tasks_start_on_configured_executors_only(session, monkeypatch, executor, starts):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setattr(executor_loader, "_executor_names", [])

    def build():
        EmptyOperator(task_id="work", executor=executor)
        EmptyOperator(task_id="other")

    etl(session, build)
    plan = clear(all_days())
    found = findings_by_code(plan).get("executor_missing")
    assert (found is None) is starts
    assert plan.outcomes["never_starts"] == (0 if starts else 2)
    assert {task_id for _, task_id in queued_by_airflow(session)} == {"other", *(["work"] if starts else [])}
    if found:
        assert found.title == (
            f"2 task instances can never start in 2 runs: executor `{executor}` is not configured"
        )
        assert plan.estimate.seconds is None
