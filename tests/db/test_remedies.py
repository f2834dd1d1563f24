"""A finding's remedy has the promised effect: the finding is gone, and Airflow agrees."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.api_fastapi.core_api.routes.public.backfills import unpause_backfill
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference
from sqlalchemy import select, update

from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.selection import Exclusions, Selection
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.planning.derived_plans import plan_with_field, plan_without
from tests.db import changed_dags
from tests.db.acting import ME, clear, days, now, plan_of
from tests.db.finding_scenes import (
    add_backfill,
    all_days,
    chain,
    etl,
    finding,
    findings_by_code,
    one_run,
    one_task,
    started_by_airflow,
    store,
    store_with_runs,
    work,
)
from tests.db.played_runs import foreseen, holds
from tests.support.factories import make_run, nobody, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl

pytestmark = [pytest.mark.backend]


def offered(plan, code, field):
    """Return the plan that the button of a finding leads to, without the finding."""
    assert field in findings_by_code(plan)[code].widen
    wider = plan_with_field(plan, field, ME, now())
    assert finding(wider, code) is None
    return wider


def all_runs(plan, session):
    """Compare the plan with the scheduler: everything in it runs, and the runs succeed."""
    rows, of_runs = holds(plan, session)
    assert set(rows.values()) == set(of_runs.values()) == {"runs"}
    return {task_id for _, task_id, _ in rows}


@pytest.mark.parametrize(("code", "state"), [("upstream_failed", "failed"), ("upstream_skipped", "skipped")])
def test_upstream_included_runs_first(session, code, state):
    [run] = store_with_runs(chain("etl", "a", "b"), session, {"a": state, "b": state})
    plan = plan_of(one_run(run, task_regex="^b$"))
    assert all_runs(offered(plan, code, "include_upstream"), session) == {"a", "b"}


@pytest.mark.parametrize(("code", "state"), [("stale_downstream", "success"), ("downstream_stays", "failed")])
def test_downstream_included_runs_again(session, code, state):
    [run] = store_with_runs(chain("etl", "a", "b"), session, {"a": "failed", "b": state})
    plan = plan_of(one_run(run, task_regex="^a$"))
    assert all_runs(offered(plan, code, "include_downstream"), session) == {"a", "b"}


def test_a_branch_that_is_included_decides_again(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        _ = choose >> EmptyOperator(task_id="work")
    [run] = store_with_runs(dag, session, {"choose": "success", "work": "skipped"}, state="success")
    value = {"followed": []}
    of_task = {"dag_id": "etl", "task_id": "choose", "run_id": run.run_id}
    XComModel.set(key="skipmixin_key", value=value, **of_task, session=session)
    session.commit()
    plan = plan_of(one_run(run, task_regex="^work$"))
    wider = offered(plan, "already_skipped", "include_upstream")
    outcomes = {task_id: outcome for (_, task_id, _), outcome in foreseen(wider, session)[0].items()}
    assert outcomes == {"choose": "runs", "work": "unknown"}


def test_what_succeeded_is_left_alone_by_states(session):
    [run] = store_with_runs(chain("etl", "a", "b"), session, {"a": "success", "b": "failed"})
    before = {ti.task_id: (ti.id, ti.try_number) for ti in task_instances(run, session=session)}
    assert finding(plan_of(one_run(run)), "success_redone") is not None
    plan = plan_of(one_run(run, state=("failed", "upstream_failed")))
    assert finding(plan, "success_redone") is None
    assert all_runs(plan, session) == {"b"}
    now_ = {ti.task_id: (ti.id, ti.try_number) for ti in task_instances(run, session=session)}
    assert now_["a"] == before["a"]


def test_a_task_that_is_gone_can_be_excluded(session):
    runs = store_with_runs(chain("etl", "a", "b"), session, {"a": "failed", "b": "failed"}, runs=2)
    store_dag(chain("etl", "a"), session=session)
    whole = Selection("etl", run_id=tuple(run.run_id for run in runs))
    assert finding(plan_of(whole), "not_in_dag").count == 2
    plan = plan_of(Selection("etl", run_id=whole.run_id, exclude_task_id=("b",)))
    assert finding(plan, "not_in_dag") is None


def test_fewer_runs_than_may_be_active_start_at_once(session):
    one_task(session, runs=4, dag_options={"max_active_runs": 2})
    assert finding(plan_of(all_days()), "runs_wait") is not None
    plan = clear(days(1, 2))
    assert finding(plan, "runs_wait") is None
    assert started_by_airflow(session) == {"run_1", "run_2"}


def test_a_higher_limit_starts_all_runs(session):
    one_task(session, runs=4, dag_options={"max_active_runs": 2})
    session.execute(update(DagModel).values(max_active_runs=4))
    session.commit()
    plan = clear(all_days())
    assert finding(plan, "runs_wait") is None
    assert started_by_airflow(session) == {f"run_{day}" for day in (1, 2, 3, 4)}


def test_a_run_that_has_finished_gets_a_new_start(session):
    dag = chain("etl", "a", dagrun_timeout=timedelta(hours=2))
    [run] = store_with_runs(dag, session, {"a": "failed"}, state="running")
    run.start_date = now() - timedelta(hours=3)
    session.commit()
    assert finding(plan_of(one_run(run)), "dagrun_timeout").level == "warn"
    run.state = "failed"
    session.commit()
    assert finding(clear(one_run(run)), "dagrun_timeout").level == "info"
    session.expire_all()
    assert session.scalars(select(DagRun.start_date).where(DagRun.dag_id == "etl")).one() is None


def test_runs_that_are_reset_start(session):
    store_etl(session)
    kept = plan_of(days(1, 3, reset_dag_runs=False))
    assert finding(kept, "runs_not_reset").count == 3
    plan = clear(days(1, 3))
    assert finding(plan, "runs_not_reset") is None
    assert started_by_airflow(session) == {"run_1", "run_2", "run_3"}


def test_a_backfill_that_is_unpaused_starts_its_runs(session):
    dag, runs = one_task(session, runs=3)
    unfinished = make_run(dag, session=session, run_id="run_30", state="queued")
    backfill = add_backfill(session, [*runs[:2], unfinished], max_active_runs=5, is_paused=True)
    assert finding(plan_of(days(1, 3)), "backfill_paused").count == 2
    unpause_backfill(backfill.id, session)
    session.commit()
    plan = clear(days(1, 3))
    assert finding(plan, "backfill_paused") is None
    assert started_by_airflow(session) >= {"run_1", "run_2", "run_3"}


def test_a_pool_that_is_made_lets_its_tasks_run(session):
    [run] = store_with_runs(_with_pool("nowhere"), session, {"work": "failed"})
    assert finding(plan_of(one_run(run)), "pool_blocks").count == 1
    Pool.create_or_update_pool("nowhere", 1, "", include_deferred=False, session=session)
    session.commit()
    plan = plan_of(one_run(run))
    assert finding(plan, "pool_blocks") is None
    assert all_runs(plan, session) == {"work"}


def test_a_task_with_another_pool_runs_on_the_latest_version(session):
    [run] = store_with_runs(_with_pool("nowhere"), session, {"work": "failed"})
    store_dag(_with_pool("default_pool"), session=session)
    plan = plan_of(one_run(run, run_on_latest_version=True))
    assert finding(plan, "pool_blocks") is None
    assert all_runs(plan, session) == {"work"}


def _with_pool(pool):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="work", pool=pool)
    return dag


def test_what_waits_for_downstream_of_an_earlier_run_starts_with_that_run(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        waits = EmptyOperator(task_id="work", depends_on_past=True, wait_for_downstream=True)
        _ = waits >> EmptyOperator(task_id="after")
    first, second = store_with_runs(dag, session, {"work": "success", "after": "failed"}, runs=2)
    assert finding(plan_of(one_run(second)), "wait_for_downstream").count == 1
    both = plan_of(Selection("etl", run_id=(first.run_id, second.run_id)))
    assert finding(both, "wait_for_downstream") is None
    assert all_runs(both, session) == {"work", "after"}


def test_an_import_error_that_is_fixed_is_no_finding(session):
    store_etl(session)
    session.execute(update(DagModel).values(has_import_errors=True))
    session.commit()
    assert finding(plan_of(days(1, 3)), "dag_import_errors") is not None
    session.execute(update(DagModel).values(has_import_errors=False))
    session.commit()
    assert finding(plan_of(days(1, 3)), "dag_import_errors") is None


def test_a_few_runs_that_succeed_first_leave_fewer_to_pause_the_dag(session):
    """Once the newest run has succeeded, no failure of the others is enough."""
    store(session, "etl", work(), runs=3, max_consecutive_failed_dag_runs=3)
    session.execute(update(DagRun).values(state="failed"))
    session.commit()
    assert finding(plan_of(all_days()), "may_pause_dag") is not None
    set_states(_newest(session), {"work": "success"}, session=session)
    session.execute(update(DagRun).where(DagRun.run_id == "run_3").values(state="success"))
    session.commit()
    assert finding(plan_of(days(1, 2)), "may_pause_dag") is None


def _newest(session):
    return session.scalars(select(DagRun).where(DagRun.run_id == "run_3")).one()


def test_more_runs_at_a_time_take_those_of_a_backfill_too(session, monkeypatch):
    store(session, "busy", work(), runs=3)
    session.execute(update(DagRun).values(state="running"))
    etl(session, work(), runs=1)
    runs = session.scalars(select(DagRun).where(DagRun.dag_id == "etl")).all()
    add_backfill(session, runs, max_active_runs=5)
    monkeypatch.setattr(DagRun, "DEFAULT_DAGRUNS_TO_EXAMINE", 3)
    assert finding(plan_of(Selection("etl", run_id=("run_1",))), "backfill_waits") is not None
    monkeypatch.setattr(DagRun, "DEFAULT_DAGRUNS_TO_EXAMINE", 4)
    plan = clear(Selection("etl", run_id=("run_1",)))
    assert finding(plan, "backfill_waits") is None
    session.rollback()
    session.execute(update(DagRun).where(DagRun.state == "queued").values(state="running"))
    session.commit()
    examined = {run.dag_id for run in DagRun.get_running_dag_runs_to_examine(session).all()}
    session.rollback()
    assert "etl" in examined


@pytest.mark.parametrize(("skips", "code"), [(False, "trigger_fails"), (True, "trigger_skips")])
def test_a_trigger_that_is_excluded_neither_fails_nor_skips(session, skips, code):
    child = store(session, "child", work())
    make_run(child, session=session, run_id="fixed")
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="other")
        options = {"trigger_run_id": "fixed", "skip_when_already_exists": skips}
        TriggerDagRunOperator(task_id="start", trigger_dag_id="child", **options)
    [run] = store_with_runs(dag, session, {"start": "success", "other": "success"})
    assert finding(plan_of(one_run(run)), code).count == 1
    plan = plan_of(one_run(run, exclude_task_id=("start",)))
    assert finding(plan, code) is None
    assert all_runs(plan, session) == {"other"}


def test_the_latest_version_is_what_re_runs(session):
    def corrected():
        changed_dags.task("b", changed_dags.task("a"), retries=2)

    changed_dags.store_history(session, changed_dags.a_b, corrected, bundle_version="1")
    plan = plan_of(changed_dags.of("b"))
    wider = offered(plan, "dag_version", "run_on_latest_version")
    assert all_runs(wider, session) == {"b"}


def states(run, session):
    session.expire_all()
    return {ti.task_id: (ti.state, ti.try_number) for ti in task_instances(run, session=session)}


def breaking(session):
    """Store a run without a deadline and one whose deadline Airflow's clear fails on, and plan both."""
    store_dag(chain("bystander", "a"), session=session)  # Airflow rolls back once on the way, the bundle too
    plain = store_with_runs(chain("etl", "a"), session, {"a": "failed"})[0]
    alert = DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=1),
        callback=AsyncCallback(nobody),
    )
    dag = chain("etl", "a", deadline=alert)
    store_dag(dag, session=session)
    timed = make_run(dag, session=session, run_id="timed", state="failed", task_state="failed")
    both = plan_of(Selection("etl", run_id=(plain.run_id, timed.run_id)))
    found = finding(both, "deadline_breaks_clear")
    if found is None:
        pytest.skip("this Airflow clears such runs")
    return both, found, timed


def test_the_runs_with_such_a_deadline_are_named_and_can_be_unticked(session):
    both, found, timed = breaking(session)
    assert (found.level, found.count) == ("refuse", 1)
    named = tuple(link.id for link in found.links if link.kind == "dag_run")
    assert named == (timed.run_id,)
    with pytest.raises(Unconfirmed) as refused:
        confirm_plan(both, both.fingerprint, Confirmation("because"), ME, now())
    assert [one.what for one in refused.value.missing] == ["deadline_breaks_clear"]
    rest = plan_without(both, Exclusions(run_ids=named), "", ME, now())
    assert finding(rest, "deadline_breaks_clear") is None
    assert (clear(rest).cleared, states(timed, session)) == (1, {"a": ("failed", 1)})


def test_runs_that_stay_finished_are_cleared_in_spite_of_such_a_deadline(session):
    _, _, timed = breaking(session)
    plan = plan_of(one_run(timed, reset_dag_runs=False))
    assert finding(plan, "deadline_breaks_clear") is None
    assert finding(plan, "runs_not_reset").count == 1
    clear(plan)
    assert states(timed, session)["a"][0] is None
    session.refresh(timed)
    assert timed.state == "failed"
