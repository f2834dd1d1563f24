"""Whether what is cleared will start: a DAG and a history that keep it from that, and one that nearly does.

Airflow's own scheduling code is asked the same question after the clear, where it can be.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.ti_deps.dep_context import DepContext
from airflow.ti_deps.deps.prev_dagrun_dep import PrevDagrunDep
from airflow.utils.state import DagRunState
from sqlalchemy import select, update

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.acting import ME, clear, days, now, plan_of
from tests.support.factories import make_run, serialized, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend


def found(plan):
    return {finding.code: finding for finding in plan.findings}


def all_days(**more):
    return days(1, 28, **more)


def one_task(session, runs=3, *, dag_options=None, state="success", **options):
    """Store ``work``, with a run a day."""
    with DAG("etl", schedule=None, start_date=START, **(dag_options or {})) as dag:
        EmptyOperator(task_id="work", **options)
    store_dag(dag, session=session)
    made = [
        make_run(
            dag, session=session, logical_date=START.replace(day=day), run_id=f"run_{day}", task_state=state
        )
        for day in range(1, runs + 1)
    ]
    return dag, made


def started_by_airflow(session):
    """Return the ids of the queued runs that the scheduler would look at."""
    session.rollback()
    runs = DagRun.get_queued_dag_runs_to_set_running(session).all()
    return {run.run_id for run in runs}


# The DAG itself


def test_nothing_keeps_it(session):
    one_task(session)
    codes = set(found(plan_of(all_days())))
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


def test_a_paused_dag(session):
    store_etl(session, is_paused=True)
    plan = clear(days(1, 3))
    assert found(plan)["dag_paused"].count == 3
    assert started_by_airflow(session) == set()


def test_a_stale_dag(session):
    store_etl(session)
    session.execute(update(DagModel).values(is_stale=True))
    session.commit()
    plan = clear(days(1, 3))
    assert found(plan)["dag_stale"].count == 3
    assert started_by_airflow(session) == set()


def test_import_errors(session):
    store_etl(session)
    session.execute(update(DagModel).values(has_import_errors=True))
    session.commit()
    plan = clear(days(1, 3))
    assert found(plan)["dag_import_errors"].count == 3
    assert started_by_airflow(session) == {"run_1", "run_2", "run_3"}


def test_finished_runs_that_keep_their_state(session):
    dag = store_etl(session)
    running = make_run(
        dag, session=session, logical_date=START.replace(day=4), run_id="run_4", state="running"
    )
    set_states(running, {"transform": "failed"}, session=session)
    plan = clear(days(1, 4, reset_dag_runs=False))
    assert found(plan)["runs_not_reset"].count == 3
    assert "3 finished runs keep their state" in found(plan)["runs_not_reset"].title
    session.rollback()
    assert set(session.scalars(select(DagRun.state))) == {"failed", "running"}


def test_runs_in_the_future(session):
    dag, _ = one_task(session)
    ahead = now() + timedelta(days=2)
    make_run(dag, session=session, logical_date=ahead, run_id="run_4", task_state="success")
    make_run(dag, session=session, logical_date=None, run_after=ahead, run_id="run_5", task_state="success")
    plan = clear(Selection("etl", run_id=("run_3", "run_4", "run_5")))
    finding = found(plan)["runs_not_due"]
    assert finding.count == 2
    assert f"{ahead:%Y-%m-%d}" in finding.title
    assert started_by_airflow(session) == {"run_3"}


@pytest.mark.parametrize("of", ["dag", "task"])
def test_runs_after_the_end_date_start_all_the_same(session, of):
    one_task(session)
    end = {"end_date": START.replace(day=2)}
    with DAG("etl", schedule=None, start_date=START, **(end if of == "dag" else {})) as dag:
        EmptyOperator(task_id="work", **(end if of == "task" else {}))
    store_dag(dag, session=session)
    plan = clear(all_days())
    assert found(plan)["after_end_date"].count == 1
    assert runnable(session, dag) == {"run_1", "run_2", "run_3"}


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


# Places for runs


def test_runs_wait_for_max_active_runs(session):
    dag, _ = one_task(session, runs=10, dag_options={"max_active_runs": 4})
    for day in (11, 12):
        make_run(dag, session=session, logical_date=START.replace(day=day), state="running")
    finding = found(plan_of(days(1, 10)))["runs_wait"]
    assert (finding.level, finding.count) == ("warn", 8)
    assert finding.title == "8 of 10 runs will wait: max_active_runs is 4"
    assert "`max_active_runs` is 4 and 2 runs are active, so 2 of 10 can start at once." in finding.detail


def test_as_many_runs_as_there_are_places_do_not_wait(session):
    dag, _ = one_task(session, runs=4, dag_options={"max_active_runs": 5})
    make_run(dag, session=session, logical_date=START.replace(day=11), state="running")
    assert "runs_wait" not in found(plan_of(days(1, 4)))


def test_the_last_start_is_estimated_from_past_durations(session):
    one_task(session, runs=6, dag_options={"max_active_runs": 2})
    when = datetime(2026, 5, 1, 3, 0, tzinfo=timezone.utc)
    plan = make_plan(days(1, 6), ME, when)
    # A minute each, two at a time: the last pair starts when two minutes are over.
    assert "The last one will start at about 03:02 UTC." in found(plan)["runs_wait"].detail


def test_where_nothing_is_known_the_last_start_is_not_known(session):
    one_task(session, runs=6, state="failed", dag_options={"max_active_runs": 2})
    assert "When the last one will start is unknown." in found(plan_of(all_days()))["runs_wait"].detail


def backfill(session, runs, **options):
    made = Backfill(dag_id="etl", from_date=START, to_date=START, dag_run_conf={}, **options)
    session.add(made)
    session.flush()
    for ordinal, run in enumerate(runs, 1):
        run.backfill_id = made.id
        session.add(
            BackfillDagRun(
                backfill_id=made.id, dag_run_id=run.id, sort_ordinal=ordinal, logical_date=run.logical_date
            )
        )
    session.commit()
    return made


def test_a_backfill_has_places_of_its_own(session):
    _, runs = one_task(session, runs=6, dag_options={"max_active_runs": 3})
    backfill(session, runs[:4], max_active_runs=1)
    plan = clear(all_days())
    finding = found(plan)["runs_wait"]
    assert finding.count == 3
    assert "The backfill's `max_active_runs` is 1" in finding.detail
    # The two others find two of the three places.
    assert "is 3" not in finding.detail


def test_a_paused_backfill(session):
    _, runs = one_task(session, runs=3)
    backfill(session, runs[:2], max_active_runs=5, is_paused=True)
    plan = clear(all_days())
    assert found(plan)["backfill_paused"].count == 2
    assert started_by_airflow(session) == {"run_3"}


# Slots


def test_a_pool_that_does_not_exist(session):
    one_task(session, pool="gpu")
    finding = found(plan_of(all_days()))["pool_blocks"]
    assert finding.title == "3 task instances can never start: pool gpu does not exist"


@pytest.mark.parametrize(("slots", "blocked"), [(0, True), (1, True), (2, False), (-1, False)])
def test_a_pool_that_is_too_small(session, slots, blocked):
    Pool.create_or_update_pool("gpu", slots, "", include_deferred=False, session=session)
    one_task(session, pool="gpu", pool_slots=2)
    findings = found(plan_of(all_days()))
    assert ("pool_blocks" in findings) == blocked
    assert ("pool_tight" in findings) == (slots == 2)


def test_slots_in_use_are_not_open(session):
    Pool.create_or_update_pool("gpu", 5, "", include_deferred=True, session=session)
    one_task(session, runs=3, pool="gpu")
    other, busy = one_task_of(session, "other", "gpu", 2)
    assert "pool_tight" not in found(plan_of(all_days()))
    set_states(busy[0], {"work": "running"}, session=session)
    set_states(busy[1], {"work": "deferred"}, session=session)
    assert "pool_tight" not in found(plan_of(all_days()))
    third = make_run(other, session=session)
    set_states(third, {"work": "queued"}, session=session)
    assert "2 of 5 slots open; the plan could use 3." in found(plan_of(all_days()))["pool_tight"].detail


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


@pytest.mark.parametrize(("length", "limited"), [(3, False), (4, True)])
def test_more_task_instances_in_a_run_than_may_be_active(session, length, limited):
    mapped(session, length, max_active_tasks=3)
    findings = found(plan_of(all_days()))
    assert ("max_active_tasks" in findings) == limited
    if limited:
        assert (findings["max_active_tasks"].level, findings["max_active_tasks"].count) == ("info", 4)


def test_tasks_of_which_only_so_many_run(session):
    one_task(session, runs=3, max_active_tis_per_dag=2)
    assert "`work`: `max_active_tis_per_dag` is 2, and the plan has 3 task instances in all runs." in (
        found(plan_of(all_days()))["task_limits"].detail
    )
    assert "task_limits" not in found(plan_of(days(1, 2)))


# The past


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
    finding = found(plan).get(code)
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


def test_the_run_before_did_not_succeed(session):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": "failed"}, session=session)
    finding = check_past(session, dag, days(2, 3), "depends_on_past", 1)
    assert finding.level == "warn"
    assert "in `run_1` did not succeed, so `work` in `run_2` will not start" in finding.detail


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_the_run_before_is_done(session, state):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": state}, session=session)
    check_past(session, dag, days(2, 3), "depends_on_past", 0)


@pytest.mark.parametrize("state", [None, "running", "upstream_failed", "removed"])
def test_whatever_else_the_run_before_is_keeps_it(session, state):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": state}, session=session)
    plan = clear(days(2, 3))
    assert found(plan)["depends_on_past"].count == 1
    assert ("run_2", "work") in held_by_airflow(session, dag)


def test_a_failure_within_the_plan_is_done_first(session):
    dag, _ = one_task(session, depends_on_past=True, state="failed")
    check_past(session, dag, days(1, 3), "depends_on_past", 0)


def test_a_hole_in_the_plan(session):
    dag, runs = one_task(session, runs=5, depends_on_past=True)
    set_states(runs[2], {"work": "failed"}, session=session)
    chosen = Selection("etl", run_id=("run_1", "run_2", "run_4", "run_5"))
    check_past(session, dag, chosen, "depends_on_past", 1)


def test_a_running_one_that_is_left_out_keeps_the_next(session):
    _, runs = one_task(session, depends_on_past=True, runs=2)
    set_states(runs[0], {"work": "running"}, session=session)
    plan = plan_of(days(1, 2))
    assert found(plan)["depends_on_past"].count == 1


def test_the_run_before_has_no_such_task(session):
    dag, runs = one_task(session, depends_on_past=True, runs=2)
    for ti in task_instances(runs[0], session=session):
        session.delete(ti)
    session.commit()
    check_past(session, dag, days(2, 2), "depends_on_past", 1)


def test_the_run_before_has_no_such_task_and_none_had(session):
    dag, runs = one_task(session, depends_on_past=True, runs=2, ignore_first_depends_on_past=True)
    for ti in task_instances(runs[0], session=session):
        session.delete(ti)
    session.commit()
    check_past(session, dag, days(2, 2), "depends_on_past", 0)


@pytest.mark.parametrize(("catchup", "count"), [(True, 0), (False, 1)])
def test_catchup_passes_over_manual_runs(session, catchup, count):
    dag, runs = one_task(session, depends_on_past=True, runs=2, dag_options={"catchup": catchup})
    set_states(runs[0], {"work": "failed"}, session=session)
    check_past(session, dag, days(2, 2), "depends_on_past", count)


def test_the_first_run_of_a_backfill_has_no_past(session):
    dag, runs = one_task(session, depends_on_past=True)
    set_states(runs[0], {"work": "failed"}, session=session)
    backfill(session, runs[1:], max_active_runs=3)
    check_past(session, dag, days(2, 3), "depends_on_past", 0)


def test_a_run_without_a_logical_date_has_no_past(session):
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
def test_the_downstream_of_the_run_before(session, state, wait, count):
    dag = downstream_scene(session, state, wait=wait)
    plan = clear(days(2, 2, task_regex="^work$"))
    finding = found(plan).get("wait_for_downstream")
    assert (finding.count if finding else 0) == count
    assert "depends_on_past" not in found(plan)
    held = {key for key in held_by_airflow(session, dag) if key[0] == "run_2"}
    assert len(held) == count


def test_a_run_before_that_becomes_upstream_failed(session):
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
    findings = found(plan_of(days(1, 2, task_regex="^work$")))
    assert findings["upstream_failed"].count == 1
    assert findings["depends_on_past"].count == 1
    assert "`work` in `run_2` will not start" in findings["depends_on_past"].detail
    assert findings["cost"].count == 1
