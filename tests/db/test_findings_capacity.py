"""What a plan says of limits and pools, compared with the scheduler's own queries."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from airflow.models.pool import Pool
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.acting import ME, clear, days, plan_of
from tests.db.finding_scenes import (
    add_backfill,
    all_days,
    findings_by_code,
    one_task,
)
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START

pytestmark = pytest.mark.backend


@pytest.mark.one_database
def test_runs_wait_for_max_active_runs(session):
    dag, _ = one_task(session, runs=10, dag_options={"max_active_runs": 4})
    for day in (11, 12):
        make_run(dag, session=session, logical_date=START.replace(day=day), state="running")
    finding = findings_by_code(plan_of(days(1, 10)))["runs_wait"]
    assert (finding.level, finding.count) == ("warn", 8)
    assert finding.title == "8 of 10 runs will wait: max_active_runs is 4"
    assert "`max_active_runs` is 4 and 2 runs are active, so 2 of 10 can start at once." in finding.detail


@pytest.mark.one_database
def test_as_many_runs_as_max_active_runs_do_not_wait(session):
    dag, _ = one_task(session, runs=4, dag_options={"max_active_runs": 5})
    make_run(dag, session=session, logical_date=START.replace(day=11), state="running")
    assert "runs_wait" not in findings_by_code(plan_of(days(1, 4)))


def test_the_last_start_is_estimated_from_past_durations(session):
    one_task(session, runs=6, dag_options={"max_active_runs": 2})
    when = datetime(2026, 5, 1, 3, 0, tzinfo=timezone.utc)
    plan = make_plan(days(1, 6), ME, when)
    # A minute each, two at a time: the last pair starts when two minutes are over.
    assert "The last one will start at about 03:02 UTC." in findings_by_code(plan)["runs_wait"].detail


def test_the_last_start_is_unknown_without_past_durations(session):
    one_task(session, runs=6, state="failed", dag_options={"max_active_runs": 2})
    assert (
        "When the last one will start is unknown."
        in findings_by_code(plan_of(all_days()))["runs_wait"].detail
    )


def test_a_backfill_has_its_own_max_active_runs(session):
    _, runs = one_task(session, runs=6, dag_options={"max_active_runs": 3})
    add_backfill(session, runs[:4], max_active_runs=1)
    plan = clear(all_days())
    finding = findings_by_code(plan)["runs_wait"]
    assert finding.count == 3
    assert "The backfill's `max_active_runs` is 1" in finding.detail
    # The two others find two of the three places.
    assert "is 3" not in finding.detail


# Slots


def test_a_missing_pool_blocks_its_tasks(session):
    one_task(session, pool="gpu")
    finding = findings_by_code(plan_of(all_days()))["pool_blocks"]
    assert finding.title == "3 task instances can never start: pool gpu does not exist"


@pytest.mark.parametrize(("slots", "blocked"), [(0, True), (1, True), (2, False), (-1, False)])
def test_a_pool_with_too_few_slots_blocks_its_tasks(session, slots, blocked):
    Pool.create_or_update_pool("gpu", slots, "", include_deferred=False, session=session)
    one_task(session, pool="gpu", pool_slots=2)
    findings = findings_by_code(plan_of(all_days()))
    assert ("pool_blocks" in findings) == blocked
    assert ("pool_tight" in findings) == (slots == 2)


@pytest.mark.one_database
def test_used_slots_are_not_open(session):
    Pool.create_or_update_pool("gpu", 5, "", include_deferred=True, session=session)
    one_task(session, runs=3, pool="gpu")
    other, busy = one_task_of(session, "other", "gpu", 2)
    assert "pool_tight" not in findings_by_code(plan_of(all_days()))
    set_states(busy[0], {"work": "running"}, session=session)
    set_states(busy[1], {"work": "deferred"}, session=session)
    assert "pool_tight" not in findings_by_code(plan_of(all_days()))
    third = make_run(other, session=session)
    set_states(third, {"work": "queued"}, session=session)
    assert (
        "2 of 5 slots open; the plan could use 3."
        in findings_by_code(plan_of(all_days()))["pool_tight"].detail
    )


def one_task_of(session, dag_id, pool, runs):
    with DAG(dag_id, schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="work", pool=pool)
    store_dag(dag, session=session)
    return dag, [make_run(dag, session=session) for _ in range(runs)]


def mapped(session, length, **dag_options):
    with DAG("etl", schedule=None, start_date=START, **dag_options) as dag:
        EmptyOperator.partial(task_id="work").expand(doc_md=[str(n) for n in range(length)])
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, task_state="success")


@pytest.mark.one_database
@pytest.mark.parametrize(("length", "limited"), [(3, False), (4, True)])
def test_max_active_tasks_limits_a_wide_run(session, length, limited):
    mapped(session, length, max_active_tasks=3)
    findings = findings_by_code(plan_of(all_days()))
    assert ("max_active_tasks" in findings) == limited
    if limited:
        assert (findings["max_active_tasks"].level, findings["max_active_tasks"].count) == ("info", 4)


@pytest.mark.one_database
def test_a_task_limit_below_the_plan_is_reported(session):
    one_task(session, runs=3, max_active_tis_per_dag=2)
    assert "`work`: `max_active_tis_per_dag` is 2, and the plan has 3 task instances in all runs." in (
        findings_by_code(plan_of(all_days()))["task_limits"].detail
    )
    assert "task_limits" not in findings_by_code(plan_of(days(1, 2)))
