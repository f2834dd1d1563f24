"""A DAG that failures pause, backfill runs that wait, callbacks: compared with Airflow's own functions."""

from __future__ import annotations

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.bash import BashOperator
from sqlalchemy import select, update

from safe_clear_plugin.core.selection import Selection
from tests.db.acting import clear, plan_of
from tests.db.finding_scenes import add_backfill, etl, findings_by_code, store, work
from tests.support.factories import nobody

pytestmark = pytest.mark.backend


def runs_with(states, session, dag_id="etl", **options):
    """Store a DAG with a run a day in these states, the oldest first."""
    store(session, dag_id, work(), runs=len(states), **options)
    for day, state in enumerate(states, 1):
        session.execute(
            update(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == f"run_{day}").values(state=state)
        )
    session.commit()


def is_paused(session):
    return session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == "etl"))


def failures_until_paused(cleared, limit, session):
    """Have the cleared runs fail, the oldest first, and count until Airflow pauses the DAG."""
    session.rollback()
    for number, run_id in enumerate(cleared, 1):
        run = session.scalars(select(DagRun).where(DagRun.dag_id == "etl", DagRun.run_id == run_id)).one()
        run.state = "failed"
        session.flush()
        run._check_last_n_dagruns_failed("etl", limit, session)
        if is_paused(session):
            return number
    return None


@pytest.mark.parametrize(
    ("states", "cleared"),
    [
        pytest.param("sfff", [1], id="the newest runs have failed, an older one is cleared"),
        pytest.param("ffff", [3, 4], id="two of the newest are cleared"),
        pytest.param("ffff", [2, 3, 4], id="all of the newest are cleared"),
        pytest.param("fsff", [1, 4], id="a success among the newest"),
        pytest.param("ff", [1, 2], id="fewer runs than the limit"),
    ],
)
def test_failures_pause_the_dag_as_foreseen(states, cleared, session):
    names = {"s": "success", "f": "failed"}
    runs_with([names[state] for state in states], session, max_consecutive_failed_dag_runs=3)
    run_ids = tuple(f"run_{number}" for number in cleared)
    plan = plan_of(Selection("etl", run_id=run_ids))
    found = findings_by_code(plan).get("may_pause_dag")
    clear(plan)
    came = failures_until_paused(run_ids, 3, session)
    assert (found is not None) == (came is not None)
    if found:
        newest = sum(number > len(states) - 3 for number in cleared)
        assert came == max(newest, 1)
        assert (
            (str(newest) in found.title or newest == 1) if newest else "the first cleared run" in found.title
        )


def test_a_dag_without_the_limit_is_not_paused(session):
    runs_with(["failed"] * 3, session)
    assert "may_pause_dag" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))


def test_runs_that_keep_their_state_pause_nothing(session):
    runs_with(["failed"] * 3, session, max_consecutive_failed_dag_runs=3)
    plan = plan_of(Selection("etl", run_id=("run_1",), reset_dag_runs=False))
    assert "may_pause_dag" not in findings_by_code(plan)


@pytest.mark.parametrize("others", [2, 3])
def test_runs_of_a_former_backfill_wait_for_others(others, session, monkeypatch):
    monkeypatch.setattr(DagRun, "DEFAULT_DAGRUNS_TO_EXAMINE", 3)
    runs_with(["running"] * others, session, "busy")
    etl(session, work(), runs=2)
    etl_runs = session.scalars(select(DagRun).where(DagRun.dag_id == "etl").order_by(DagRun.run_id)).all()
    add_backfill(session, etl_runs[:1], max_active_runs=5)
    plan = plan_of(Selection("etl", run_id=("run_1",)))
    found = findings_by_code(plan).get("backfill_waits")
    clear(plan)
    session.rollback()
    session.execute(update(DagRun).where(DagRun.state == "queued").values(state="running"))
    session.commit()
    examined = {run.dag_id for run in DagRun.get_running_dag_runs_to_examine(session).all()}
    session.rollback()
    assert ("etl" in examined) == (found is None)
    assert found is None or (found.count, found.level) == (1, "warn")


def test_runs_of_no_backfill_do_not_wait(session, monkeypatch):
    monkeypatch.setattr(DagRun, "DEFAULT_DAGRUNS_TO_EXAMINE", 3)
    runs_with(["running"] * 4, session, "busy")
    etl(session, work(), runs=2)
    assert "backfill_waits" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))


def test_callbacks_of_dag_and_tasks_are_named(session):
    def build():
        BashOperator(task_id="work", bash_command="true", on_failure_callback=nobody)
        BashOperator.partial(task_id="many", on_retry_callback=nobody).expand(bash_command=["a", "b"])
        BashOperator(task_id="quiet", bash_command="true")

    store(session, "etl", build, runs=2, on_success_callback=nobody)
    found = findings_by_code(plan_of(Selection("etl", run_id=("run_1", "run_2"))))["callbacks"]
    assert found.title == "Callbacks of 6 task instances and 2 Dag runs can be called again"
    assert "`on_failure_callback` and `on_retry_callback` of the tasks" in found.detail
    assert "`on_success_callback` of the Dag" in found.detail
    assert found.level == "info"


def test_callbacks_of_runs_that_stay_finished_are_not_called(session):
    store(session, "etl", work(on_failure_callback=nobody), runs=1, on_success_callback=nobody)
    plan = plan_of(Selection("etl", run_id=("run_1",), reset_dag_runs=False))
    assert "callbacks" not in findings_by_code(plan)
