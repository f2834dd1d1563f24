"""How much is at work at a time, and what never gets its turn."""

from __future__ import annotations

from airflow import settings
from airflow.models.pool import Pool
from airflow.utils.db import DBLocks
from sqlalchemy import func, select

from tests.scheduler.stage import most_at_a_time


def test_as_many_runs_as_there_are_places_are_active(stage):
    finding = stage.finding("narrow", "runs_wait")
    assert (finding["count"], finding["title"]) == (3, "3 of 5 runs will wait: max_active_runs is 2")
    runs = sorted(stage.runs("narrow").values(), key=lambda run: run.start_date)
    assert most_at_a_time([(run.start_date, run.end_date) for run in runs]) == 2
    first_end = min(run.end_date for run in runs)
    assert sum(run.start_date >= first_end for run in runs) == finding["count"]
    assert stage.tally("narrow") == {"success": 5}


def test_one_task_instance_of_a_run_at_a_time(stage):
    finding = stage.finding("few_tasks", "max_active_tasks")
    assert (finding["count"], finding["title"]) == (
        2,
        "At most 1 task instance of a run will be active at a time",
    )
    assert most_at_a_time(spans(stage, "few_tasks")) == 1
    assert stage.tally("few_tasks") == {"success": 2}


def test_one_task_instance_of_a_task_at_a_time(stage):
    finding = stage.finding("one_of_a_task", "task_limits")
    assert (
        "`work`: `max_active_tis_per_dag` is 1, and the plan has 2 task instances in all runs."
        in finding["detail"]
    )
    assert most_at_a_time(spans(stage, "one_of_a_task")) == 1
    assert stage.tally("one_of_a_task") == {"success": 2}


def spans(stage, dag_id):
    return [(ti.start_date, ti.end_date) for ti in stage.task_instances(dag_id).values()]


def test_pools_that_are_missing_or_too_small(stage):
    finding = stage.finding("pools", "pool_blocks")
    assert finding["count"] == 3
    assert "3 task instances can never start" in finding["title"]
    stage.wait_until(
        lambda: stage.states("pools")["run_1", "fits"] == "success", "what fits its pool has run"
    )
    stuck = {key for key, state in stage.cleared_states("pools").items() if state == "scheduled"}
    assert stuck == {("run_1", "missing"), ("run_1", "closed"), ("run_1", "too_big")}
    assert stage.run_states("pools") == {"run_1": "running"}

    give_slots("nowhere", "closed", "small")
    stage.wait_until(lambda: stage.has_ended("pools"), "with slots they have run")
    assert stage.tally("pools") == {"success": 4}
    # Its upstream task waited for the same pool.
    stage.wait_until(lambda: stage.has_ended("unfinished_upstream"), "what waited for upstream has run")
    assert set(stage.states("unfinished_upstream").values()) == {"success"}


def give_slots(*names):
    """Make or widen pools, outside the scheduler's critical section.

    With psycopg 3, Airflow's scheduler ends when it meets a locked pool, as a change through the REST API may
    leave one: ``is_lock_not_available_error`` reads psycopg2's ``pgcode``.
    """
    lock = func.pg_advisory_xact_lock(DBLocks.SCHEDULER_CRITICAL_SECTION.value)
    with settings.NonScopedSession() as session, session.begin():
        session.execute(select(lock))
        for name in names:
            Pool.create_or_update_pool(name, slots=2, description="", include_deferred=False, session=session)
