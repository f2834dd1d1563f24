"""Whether cleared task instances will start, compared with Airflow's own scheduling code after the clear."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.ti_deps.dep_context import DepContext
from airflow.ti_deps.deps.prev_dagrun_dep import PrevDagrunDep
from airflow.utils.state import DagRunState
from sqlalchemy import select, update

from safe_clear_plugin.core.selection import Selection
from tests.db.acting import clear, days, now, plan_of
from tests.db.finding_scenes import (
    add_backfill,
    all_days,
    findings_by_code,
    one_task,
    started_by_airflow,
)
from tests.support.factories import make_run, serialized, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend


def test_a_plan_without_obstacles_has_no_findings(session):
    one_task(session)
    codes = set(findings_by_code(plan_of(all_days())))
    assert not codes & {
        "dag_paused",
        "dag_stale",
        "dag_import_errors",
        "runs_not_reset",
        "runs_not_due",
        "backfill_paused",
        "pool_blocks",
        "depends_on_past",
        "wait_for_downstream",
        "runs_wait",
        "max_active_tasks",
        "pool_tight",
        "task_limits",
        "after_end_date",
    }


def test_a_paused_dag_starts_nothing(session):
    store_etl(session, is_paused=True)
    plan = clear(days(1, 3))
    assert findings_by_code(plan)["dag_paused"].count == 3
    assert started_by_airflow(session) == set()


def test_a_stale_dag_starts_nothing(session):
    store_etl(session)
    session.execute(update(DagModel).values(is_stale=True))
    session.commit()
    plan = clear(days(1, 3))
    assert findings_by_code(plan)["dag_stale"].count == 3
    assert started_by_airflow(session) == set()


def test_import_errors_are_reported_though_tasks_start(session):
    store_etl(session)
    session.execute(update(DagModel).values(has_import_errors=True))
    session.commit()
    plan = clear(days(1, 3))
    assert findings_by_code(plan)["dag_import_errors"].count == 3
    assert started_by_airflow(session) == {"run_1", "run_2", "run_3"}


def test_finished_runs_that_keep_their_state_start_nothing(session):
    dag = store_etl(session)
    running = make_run(
        dag, session=session, logical_date=START.replace(day=4), run_id="run_4", state="running"
    )
    set_states(running, {"transform": "failed"}, session=session)
    plan = clear(days(1, 4, reset_dag_runs=False))
    assert findings_by_code(plan)["runs_not_reset"].count == 3
    assert "3 finished runs keep their state" in findings_by_code(plan)["runs_not_reset"].title
    session.rollback()
    assert set(session.scalars(select(DagRun.state))) == {"failed", "running"}


def test_runs_in_the_future_wait(session):
    dag, _ = one_task(session)
    ahead = now() + timedelta(days=2)
    make_run(dag, session=session, logical_date=ahead, run_id="run_4", task_state="success")
    make_run(dag, session=session, logical_date=None, run_after=ahead, run_id="run_5", task_state="success")
    plan = clear(Selection("etl", run_id=("run_3", "run_4", "run_5")))
    finding = findings_by_code(plan)["runs_not_due"]
    assert finding.count == 2
    assert f"{ahead:%Y-%m-%d}" in finding.title
    assert started_by_airflow(session) == {"run_3"}


@pytest.mark.parametrize("of", ["dag", "task"])
def test_runs_after_the_end_date_start_anyway(session, of):
    one_task(session)
    end = {"end_date": START.replace(day=2)}
    with DAG("etl", schedule=None, start_date=START, **(end if of == "dag" else {})) as dag:
        EmptyOperator(task_id="work", **(end if of == "task" else {}))
    store_dag(dag, session=session)
    plan = clear(all_days())
    assert findings_by_code(plan)["after_end_date"].count == 1
    assert runnable(session, dag) == {"run_1", "run_2", "run_3"}


def test_a_paused_backfill_starts_no_queued_run(session):
    dag, runs = one_task(session, runs=3)
    # One that is unfinished: without, the backfill would be over, and could not be unpaused.
    unfinished = make_run(dag, session=session, run_id="run_30", state="queued")
    add_backfill(session, [*runs[:2], unfinished], max_active_runs=5, is_paused=True)
    plan = clear(days(1, 3))
    assert findings_by_code(plan)["backfill_paused"].count == 2
    assert started_by_airflow(session) == {"run_3"}


def runnable(session, dag):
    """Return the runs in which the scheduler would schedule ``work``."""
    session.rollback()
    ready = set()
    for run in session.scalars(select(DagRun).where(DagRun.dag_id == "etl")):
        run.state = DagRunState.RUNNING
        run.dag = serialized(dag, session=session)
        if run.task_instance_scheduling_decisions(session=session).schedulable_tis:
            ready.add(run.run_id)
    session.rollback()
    return ready


def held_by_airflow(session, dag):
    """Return the cleared task instances whose past keeps them, apart from what waits within the plan."""
    session.rollback()
    stored, held = serialized(dag, session=session), set()
    for ti in session.scalars(select(TaskInstance).where(TaskInstance.state.is_(None))):
        ti.task = stored.get_task(ti.task_id)
        if not PrevDagrunDep().is_met(ti=ti, session=session, dep_context=DepContext()):
            held.add((ti.run_id, ti.task_id))
    session.rollback()
    return held


def check_past(session, dag, selection, code, count):
    """Clear; the finding must count what Airflow holds back, once what is in the plan has succeeded."""
    plan = clear(selection)
    finding = findings_by_code(plan).get(code)
    assert (finding.count if finding else 0) == count
    cleared = list(session.scalars(select(TaskInstance).where(TaskInstance.state.is_(None))))
    keys = {(ti.run_id, ti.task_id) for ti in cleared}
    session.rollback()
    held = set()
    for run_id, task_id in keys:
        # Everything else that was cleared is done; is this one held?
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.id.in_([ti.id for ti in cleared]))
            .where(~((TaskInstance.run_id == run_id) & (TaskInstance.task_id == task_id)))
            .values(state="success")
        )
        stored = serialized(dag, session=session)
        ti = session.scalars(
            select(TaskInstance).where(TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        ).first()
        ti.task = stored.get_task(task_id)
        if not PrevDagrunDep().is_met(ti=ti, session=session, dep_context=DepContext()):
            held.add((run_id, task_id))
        session.rollback()
    assert len(held) == count
    return finding


@pytest.mark.parametrize(("state", "level"), [("success", "acknowledge"), ("failed", "warn")])
def test_a_failed_previous_run_blocks_and_is_to_acknowledge_if_a_success_is_lost(session, state, level):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": "failed"}, session=session)
    for run in runs[1:]:
        run.state = state
    session.commit()
    finding = check_past(session, dag, days(2, 3), "depends_on_past", 1)
    assert finding.level == level
    assert "in `run_1` did not succeed, so `work` in `run_2` will not start" in finding.detail


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_a_finished_previous_run_blocks_nothing(session, state):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": state}, session=session)
    check_past(session, dag, days(2, 3), "depends_on_past", 0)


@pytest.mark.parametrize("state", [None, "running", "upstream_failed", "removed"])
def test_any_other_state_of_the_previous_run_blocks(session, state):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": state}, session=session)
    plan = clear(days(2, 3))
    assert findings_by_code(plan)["depends_on_past"].count == 1
    assert ("run_2", "work") in held_by_airflow(session, dag)


def test_a_previous_run_within_the_plan_blocks_nothing(session):
    dag, _ = one_task(session, depends_on_past=True, state="failed")
    check_past(session, dag, days(1, 3), "depends_on_past", 0)


def test_a_run_missing_from_the_plan_blocks_the_next(session):
    dag, runs = one_task(session, runs=5, depends_on_past=True)
    set_states(runs[2], {"work": "failed"}, session=session)
    chosen = Selection("etl", run_id=("run_1", "run_2", "run_4", "run_5"))
    check_past(session, dag, chosen, "depends_on_past", 1)


def test_a_running_one_that_is_left_out_blocks_the_next(session):
    _, runs = one_task(session, depends_on_past=True, runs=2)
    set_states(runs[0], {"work": "running"}, session=session)
    plan = plan_of(days(1, 2))
    assert findings_by_code(plan)["depends_on_past"].count == 1


def test_a_previous_run_without_the_task_blocks(session):
    dag, runs = one_task(session, depends_on_past=True, runs=2)
    for ti in task_instances(runs[0], session=session):
        session.delete(ti)
    session.commit()
    check_past(session, dag, days(2, 2), "depends_on_past", 1)


def test_earlier_runs_without_the_task_block_nothing(session):
    dag, runs = one_task(session, depends_on_past=True, runs=2, ignore_first_depends_on_past=True)
    for ti in task_instances(runs[0], session=session):
        session.delete(ti)
    session.commit()
    check_past(session, dag, days(2, 2), "depends_on_past", 0)


@pytest.mark.parametrize(("catchup", "count"), [(True, 0), (False, 1)])
def test_catchup_ignores_manual_runs(session, catchup, count):
    dag, runs = one_task(session, depends_on_past=True, runs=2, dag_options={"catchup": catchup})
    set_states(runs[0], {"work": "failed"}, session=session)
    check_past(session, dag, days(2, 2), "depends_on_past", count)


def test_the_first_run_of_a_backfill_has_no_previous_run(session):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": "failed"}, session=session)
    add_backfill(session, runs[1:], max_active_runs=3)
    check_past(session, dag, days(2, 3), "depends_on_past", 0)


def test_a_run_without_a_logical_date_has_no_previous_run(session):
    dag, _ = one_task(session, depends_on_past=True, runs=1, state="failed")
    make_run(dag, session=session, logical_date=None, run_id="undated", task_state="failed")
    check_past(session, dag, Selection("etl", run_id=("undated",)), "depends_on_past", 0)


def downstream_scene(session, state, *, wait):
    with DAG("etl", schedule=None, start_date=START) as dag:
        work = EmptyOperator(task_id="work", depends_on_past=True, wait_for_downstream=wait)
        _ = work >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    for day in (1, 2):
        run = make_run(
            dag,
            session=session,
            logical_date=START.replace(day=day),
            run_id=f"run_{day}",
            task_state="success",
        )
        if day == 1:
            set_states(run, {"after": state}, session=session)
    return dag


@pytest.mark.parametrize(
    ("state", "wait", "count"),
    [("failed", True, 1), ("failed", False, 0), ("skipped", True, 0), (None, True, 1)],
)
def test_downstream_of_the_previous_run_blocks(session, state, wait, count):
    dag = downstream_scene(session, state, wait=wait)
    plan = clear(days(2, 2, task_regex="^work$"))
    finding = findings_by_code(plan).get("wait_for_downstream")
    assert (finding.count if finding else 0) == count
    assert "depends_on_past" not in findings_by_code(plan)
    held = {key for key in held_by_airflow(session, dag) if key[0] == "run_2"}
    assert len(held) == count


def test_a_previous_run_that_becomes_upstream_failed_blocks(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        _ = EmptyOperator(task_id="broken") >> EmptyOperator(task_id="work", depends_on_past=True)
    store_dag(dag, session=session)
    for day in (1, 2):
        run = make_run(
            dag,
            session=session,
            logical_date=START.replace(day=day),
            run_id=f"run_{day}",
            task_state="success",
        )
        if day == 1:
            set_states(run, {"broken": "failed"}, session=session)
    findings = findings_by_code(plan_of(days(1, 2, task_regex="^work$")))
    assert findings["upstream_failed"].count == 1
    assert findings["depends_on_past"].count == 1
    assert "`work` in `run_2` will not start" in findings["depends_on_past"].detail
    assert "cost" not in findings
