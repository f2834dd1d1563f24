"""Undoing a clear on a real metadata DB: what has not started returns to exactly what it was."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from airflow.jobs import scheduler_job_runner
from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.backfill import Backfill
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.hitl_history import HITLDetailHistory
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.trigger import Trigger
from airflow.utils.db import DBLocks
from sqlalchemy import delete, event, func, select, text, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.clear import clear_runs
from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.driver import steps
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import plan_list
from safe_clear_plugin.storage.undo import restore, undo_batches
from tests.db.acting import (
    ME,
    OTHER,
    Clear,
    clear,
    confirm,
    days,
    now,
    plan_of,
    reread,
    step,
    undo,
    undo_step,
)
from tests.db.undo_oracle import OWN_TABLES, everything
from tests.support.driving import drive, set_clock_forward
from tests.support.factories import (
    add_deadline,
    advance,
    hitl_detail,
    leave_trail,
    make_run,
    set_states,
    store_dag,
    task_instances,
)
from tests.support.later_airflow import later_patch
from tests.support.options import chosen
from tests.support.scenes import START, etl_dag, store_etl
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.backend, pytest.mark.driver]

WITH_A_LOCK = pytest.mark.skipif(not chosen.postgresql, reason="SQLite: see test_undo_of_scheduled")
PAUSE = "safe_clear_scheduler_pause"
AIRFLOW_33 = hasattr(airflow_taskinstance, "_pin_versionless_tis_to_run_version")


def set_live(session, run_id, task_id, **values):
    """Change a task instance as the scheduler or a worker does, behind the plan's back."""
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        .values(**values)
    )
    session.commit()


def set_run(session, run_id, **values):
    """Change a dag run as the scheduler does."""
    session.execute(update(DagRun).where(DagRun.run_id == run_id).values(**values))
    session.commit()


def live(session, run_id, task_id):
    session.rollback()
    return session.scalars(
        select(TaskInstance)
        .where(TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        .execution_options(populate_existing=True)
    ).one()


def live_run(session, run_id):
    session.rollback()
    query = select(DagRun).where(DagRun.run_id == run_id)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def clear_as_airflow_does(session, run_id, *task_ids):
    """Clear without Safe Clear."""
    session.rollback()
    tis = [ti for ti in task_instances(live_run(session, run_id), session=session) if ti.task_id in task_ids]
    clear_task_instances(tis, session)
    session.commit()
    session.expunge_all()


@pytest.fixture
def dag(session):
    return store_etl(session, runs=4)


@pytest.fixture
def load(dag, session):
    """One cleared task instance of a failed run: ``load`` of ``run_1``."""
    return Clear(days(1, 1, task_regex="^load$"), session)


@pytest.fixture
def small_batches(monkeypatch):
    """One dag run in each transaction."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")


@pytest.mark.usefixtures("made_by")
def test_clear_and_undo_leave_everything_as_it_was(dag, session):
    cleared = Clear(days(1, 3, task_regex="^trans", include_downstream=True), session)
    assert diff_snapshots(cleared.before, cleared.cleared) != {}
    cleared.undo_to_before()
    seen = cleared.foreseen
    assert (seen.task_instances, seen.put_back, seen.dag_runs, seen.whole_runs) == (6, 6, 3, 3)
    done = cleared.plan
    assert (done.status, done.put_back, done.stayed, done.undone_runs) == ("undone", 6, 0, 3)


def test_a_preview_of_an_undo_writes_nothing(load, session):
    before = snapshot(session)
    assert preview_undo(load.plan, now()).put_back == 1
    assert diff_snapshots(before, snapshot(session)) == {}


# --- What shows that a task instance has started ------------------------------------------------------------


@pytest.mark.parametrize("state", [None, pytest.param("scheduled", marks=WITH_A_LOCK)])
def test_what_waits_comes_back(load, session, state):
    set_live(session, "run_1", "load", state=state)
    load.undo_to_before()


STARTED = ("queued", "running", "restarting", "deferred", "success", "failed", "skipped")
DECIDED = ("upstream_failed", "up_for_retry", "up_for_reschedule", "removed")


@pytest.mark.parametrize("state", [*STARTED, *DECIDED])
def test_any_other_state_stays(load, session, state):
    set_live(session, "run_1", "load", state=state)
    load.undo_to_nothing()
    [stays] = load.foreseen.stays
    assert (stays.run_id, stays.task_id, stays.state_now) == ("run_1", "load", state)
    assert stays.why == "queued, started or decided by the scheduler since"


@pytest.mark.parametrize(
    "values",
    [
        {"start_date": START.replace(day=20)},
        {"next_method": "execute_complete"},
        {"queued_dttm": START.replace(day=20)},
        {"external_executor_id": "7"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_scheduled_is_no_proof_that_it_has_not_started(load, session, values):
    set_live(session, "run_1", "load", state="scheduled", **values)
    load.undo_to_nothing()


def test_one_that_was_stuck_in_queued_stays(load, session):
    """The scheduler takes it back without a trace in its row."""
    set_live(session, "run_1", "load", state="scheduled")
    ti = live(session, "run_1", "load")
    session.add(Log(event=scheduler_job_runner.TASK_STUCK_IN_QUEUED_RESCHEDULE_EVENT, task_instance=ti.key))
    session.commit()
    cleared = ti.id
    [stays] = preview_undo(load.plan, now()).stays
    assert (stays.run_id, stays.task_id, stays.state_now) == ("run_1", "load", "scheduled")
    undo(load.plan)
    session.expire_all()
    assert live(session, "run_1", "load").id == cleared


def test_one_that_was_rescheduled_stays(load, session):
    set_live(session, "run_1", "load", state="scheduled")
    ti = live(session, "run_1", "load")
    session.add(TaskReschedule(ti.id, START, START + timedelta(seconds=5), START))
    session.commit()
    load.undo_to_nothing()


def test_one_that_was_removed_may_be_removed_again(dag, session):
    """The scheduler marks it, as often as it is cleared, since the DAG has no such task."""
    set_live(session, "run_1", "load", state="removed")
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    set_live(session, "run_1", "load", state="removed")
    cleared.undo_to_before()


@pytest.mark.parametrize("way", ["rescheduled", "triggered", "orphaned"])
def test_whoever_waits_again_stays(load, session, way):
    advance("etl", "run_1", "load", way, session=session)
    load.undo_to_nothing()


def test_what_was_deleted_stays_away(load, session):
    session.execute(
        delete(TaskInstance).where(TaskInstance.task_id == "load", TaskInstance.run_id == "run_1")
    )
    session.commit()
    load.undo_to_nothing()
    assert [stays.why for stays in load.foreseen.stays] == [
        "deleted since, or expanded into mapped task instances"
    ]


# --- Cleared again ------------------------------------------------------------------------------------------


def test_nested_clears_are_undone_last_first(dag, session):
    outer = Clear(days(1, 2), session)
    inner = Clear(days(2, 3, task_regex="^trans"), session)
    inner.undo_to_before()
    outer.undo_to_before()


@WITH_A_LOCK
def test_a_try_that_nobody_began_is_taken_back_with_its_clear(dag, session):
    """Scheduling gives it its next try number; with both clears undone it has the one from before."""
    outer = Clear(days(1, 1, task_regex="^load$"), session)
    advance("etl", "run_1", "load", "scheduled", session=session)
    scheduled = live(session, "run_1", "load").try_number
    inner = Clear(days(1, 1, task_regex="^load$"), session)
    inner.undo_to_before()
    assert live(session, "run_1", "load").try_number == scheduled
    outer.undo_to_before()
    assert live(session, "run_1", "load").try_number == scheduled - 1


def test_an_undo_out_of_order_brings_nothing_back(dag, session):
    outer = Clear(days(1, 1, task_regex="^load$"), session)
    inner = Clear(days(1, 1, task_regex="^load$"), session)
    outer.undo_to_nothing()
    assert [stays.why for stays in outer.foreseen.stays] == ["cleared or retried again since"]
    inner.undo_to_before()


def test_one_of_two_clears_in_a_run_is_undone_by_itself(dag, session):
    first = Clear(days(1, 1, task_regex="^load$"), session)
    second = Clear(days(1, 1, task_regex="^extract$"), session)
    done = first.undo()
    assert (done.put_back, first.foreseen.whole_runs) == (1, 0)
    assert [run.why_kept for run in first.foreseen.runs] == ["cleared again since"]
    assert live_run(session, "run_1").clear_number == 2
    assert second.undo().put_back == 1


# --- What was pending before the clear ----------------------------------------------------------------------

PENDING = ["running", "queued", "deferred", "restarting"] + (["awaiting_input"] if AIRFLOW_33 else [])


@pytest.mark.parametrize("state", PENDING)
def test_what_something_outside_was_at_work_on_stays(dag, session, state):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": state, "load": None}, session=session)
    if state == "deferred":
        leave_trail(task_instances(run, session=session)[-1], "trigger", session=session)
        session.commit()
    cleared = Clear(days(9, 9, running="terminate"), session)
    assert cleared.undo().put_back == 2
    [stays] = cleared.foreseen.stays
    assert (stays.task_id, stays.state_now) == ("transform", "restarting" if state == "running" else None)
    assert stays.why == "handed to an executor, a trigger or a person before the clear"
    [run_seen] = cleared.foreseen.runs
    assert (run_seen.whole, run_seen.why_kept) == (False, "some of its task instances can't be restored")


# --- History ------------------------------------------------------------------------------------------------


def history_of(session, task_id):
    session.rollback()
    rows = session.execute(
        select(TaskInstanceHistory.try_number, TaskInstanceHistory.state)
        .where(TaskInstanceHistory.task_id == task_id)
        .order_by(TaskInstanceHistory.try_number)
    )
    return [tuple(row) for row in rows]


def test_the_history_row_of_the_clear_goes_and_others_stay(dag, session):
    ti = live(session, "run_1", "transform")
    leave_trail(ti, "another_try", session=session)
    session.commit()
    cleared = Clear(days(1, 1, task_regex="^transform$"), session)
    assert history_of(session, "transform") == [(1, "failed"), (8, "failed")]
    cleared.undo_to_before()
    assert history_of(session, "transform") == [(8, "failed")]


@pytest.mark.parametrize("own_id", [True, False])
def test_a_history_row_that_was_there_stays(dag, session, own_id):
    """Airflow writes none where there is one of that try already."""
    ti = live(session, "run_1", "transform")
    row = TaskInstanceHistory(ti, state="skipped")
    if not own_id:
        row.task_instance_id = uuid4()
    session.add(row)
    session.commit()
    cleared = Clear(days(1, 1, task_regex="^transform$"), session)
    assert history_of(session, "transform") == [(1, "skipped")]
    cleared.undo_to_before()
    assert history_of(session, "transform") == [(1, "skipped")]


def test_history_of_what_stays_stays(load, session):
    advance("etl", "run_1", "load", "queued", session=session)
    load.undo_to_nothing()
    assert history_of(session, "load") == [(0, "upstream_failed")]


def test_the_history_of_human_input_goes_with_the_history(dag, session):
    hitl_detail(live(session, "run_1", "transform"), session=session, answered=True)
    session.commit()
    first = Clear(days(1, 1, task_regex="^transform$"), session)
    assert session.scalar(select(func.count()).select_from(HITLDetailHistory)) == 1
    set_live(session, "run_1", "transform", try_number=2, state="failed")
    second = Clear(days(1, 1, task_regex="^transform$"), session)
    assert session.scalar(select(func.count()).select_from(HITLDetailHistory)) == 2
    second.undo_to_before()
    assert session.scalar(select(func.count()).select_from(HITLDetailHistory)) == 1
    set_live(session, "run_1", "transform", try_number=1, state=None)
    first.undo_to_before()
    assert session.scalar(select(func.count()).select_from(HITLDetailHistory)) == 0


# --- When a run gets its own state back ---------------------------------------------------------------------


def test_a_run_that_was_cleared_again_keeps_its_state(load, session):
    clear_as_airflow_does(session, "run_1", "extract")
    set_live(session, "run_1", "extract", state="success")
    set_run(session, "run_1", _state="running")
    assert (load.undo().put_back, load.foreseen.whole_runs) == (1, 0)
    assert [run.why_kept for run in load.foreseen.runs] == ["cleared again since"]
    run = live_run(session, "run_1")
    assert (run.state, run.clear_number) == ("running", 2)


def test_a_run_of_which_something_started_keeps_its_state(dag, session):
    cleared = Clear(days(1, 1), session)
    advance("etl", "run_1", "extract", "running", session=session)
    set_run(session, "run_1", _state="running")
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (2, 1)
    [run] = cleared.foreseen.runs
    assert (run.put_back, run.stay, run.whole, run.state_back) == (2, 1, False, None)
    assert run.why_kept == "some of its task instances can't be restored"
    assert (live_run(session, "run_1").state, live_run(session, "run_1").clear_number) == ("running", 1)


@pytest.mark.parametrize("moved", [True, False])
def test_other_work_in_a_run_keeps_it_going(dag, session, moved):
    """A finished run may hold task instances that never ran; queued again, the scheduler takes them up."""
    set_live(session, "run_1", "extract", state=None, start_date=None)
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    if moved:
        set_live(session, "run_1", "extract", state="scheduled")
    cleared.undo()
    [run] = cleared.foreseen.runs
    assert (run.whole, run.state_back) == ((False, None) if moved else (True, "failed"))
    assert run.why_kept == ("its other task instances have changed" if moved else "")
    assert live_run(session, "run_1").state == ("queued" if moved else "failed")


def test_other_work_that_is_done_by_now_keeps_a_run_going(dag, session):
    set_live(session, "run_1", "extract", state=None, start_date=None)
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    set_live(session, "run_1", "extract", state="success", start_date=START)
    cleared.undo()
    assert [run.why_kept for run in cleared.foreseen.runs] == ["its other task instances have changed"]
    assert live_run(session, "run_1").state == "queued"


def test_a_task_instance_that_the_scheduler_added_keeps_the_run_going(load, session):
    added = live(session, "run_1", "extract")
    values = {column.name: getattr(added, column.name) for column in TaskInstance.__table__.columns}
    values |= {"id": uuid4(), "task_id": "added", "state": None}
    session.execute(TaskInstance.__table__.insert().values(values))
    session.commit()
    assert load.undo().put_back == 1
    assert [run.why_kept for run in load.foreseen.runs] == ["its other task instances have changed"]


@pytest.mark.parametrize("state", ["queued", "running", "success", "failed"])
def test_a_run_comes_back_unless_it_has_finished_since(load, session, state):
    set_run(session, "run_1", _state=state, last_scheduling_decision=START, start_date=START)
    assert load.undo().put_back == 1
    [run] = load.foreseen.runs
    if state in ("queued", "running"):
        assert (run.state_now, run.state_back, run.why_kept) == (state, "failed", "")
        assert diff_snapshots(load.before, everything(session)) == {}
    else:
        assert (run.state_back, run.why_kept) == (None, "it has finished since")
        assert (live_run(session, "run_1").state, live_run(session, "run_1").clear_number) == (state, 1)


@pytest.mark.parametrize(("before", "since"), [("queued", "running"), ("running", "running")])
def test_an_unfinished_run_keeps_what_the_scheduler_wrote(dag, session, before, since):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state=before)
    set_states(run, {"extract": "success", "transform": "failed"}, session=session)
    was = live_run(session, "live")
    queued_at, started = was.queued_at, START.replace(day=10)
    cleared = Clear(days(9, 9), session)
    set_run(session, "live", _state=since, start_date=started, last_scheduling_decision=started)
    cleared.undo()
    [seen] = cleared.foreseen.runs
    assert (seen.whole, seen.state_now, seen.state_back) == (True, since, since)
    found = live_run(session, "live")
    assert (found.clear_number, found.queued_at) == (0, queued_at)
    assert (found.state, found.start_date, found.last_scheduling_decision) == (since, started, started)


def test_an_unfinished_run_that_has_finished_since_is_left(dag, session):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success"}, session=session)
    cleared = Clear(days(9, 9, task_regex="^extract$"), session)
    set_run(session, "live", _state="failed", end_date=START)
    assert cleared.undo().put_back == 1
    assert [run.why_kept for run in cleared.foreseen.runs] == ["it has finished since"]
    assert live_run(session, "live").clear_number == 1


def test_runs_that_the_clear_left_alone_are_left_alone(dag, session):
    cleared = Clear(days(1, 2, reset_dag_runs=False), session)
    assert live_run(session, "run_1").clear_number == 0
    cleared.undo_to_before()
    assert {run.why_kept for run in cleared.foreseen.runs} == {"the clear left its state alone"}


def test_what_another_clear_did_to_a_run_is_not_taken_for_ours(dag, session):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "failed"}, session=session)
    cleared = Clear(days(9, 9, task_regex="^trans", reset_dag_runs=False), session)
    clear_as_airflow_does(session, "live", "extract")
    assert live_run(session, "live").clear_number == 1
    assert cleared.undo().put_back == 1
    assert live_run(session, "live").clear_number == 1


@pytest.mark.parametrize("versionless_run", [True, False])
def test_a_version_comes_off_again_in_a_run_that_was_left_alone(dag, session, versionless_run):
    set_live(session, "run_1", "load", dag_version_id=None)
    if versionless_run:
        set_run(session, "run_1", created_dag_version_id=None)
    Clear(days(1, 1, task_regex="^load$", reset_dag_runs=False), session).undo_to_before()


# --- DAG versions -------------------------------------------------------------------------------------------


@pytest.fixture
def newer_version(dag, session):
    """A second version of the DAG, beside which the runs have the first."""
    store_dag(etl_dag(), session=session, new_version=True)


def test_a_run_that_moved_to_the_latest_version_comes_back(dag, newer_version, session):
    before = live_run(session, "run_1").created_dag_version_id
    cleared = Clear(days(1, 1, run_on_latest_version=True), session)
    assert live_run(session, "run_1").created_dag_version_id != before
    cleared.undo_to_before()


def test_a_run_that_goes_on_keeps_its_version(dag, newer_version, session):
    set_live(session, "run_1", "transform", dag_version_id=None)
    old = live_run(session, "run_1").created_dag_version_id
    cleared = Clear(days(1, 1, run_on_latest_version=True), session)
    new = live_run(session, "run_1").created_dag_version_id
    advance("etl", "run_1", "extract", "queued", session=session)
    assert cleared.undo().put_back == 2
    assert live_run(session, "run_1").created_dag_version_id == new != old
    # The scheduler queues nothing without a version, so one that had none keeps that of its run.
    assert live(session, "run_1", "transform").dag_version_id == new
    assert live(session, "run_1", "load").dag_version_id == old


@pytest.mark.parametrize("run_state", ["failed", "running"])
def test_versions_given_to_others_are_taken_off_again(dag, session, run_state):
    """3.3 gives unfinished task instances of the run that have no version the run's own."""
    set_run(session, "run_1", _state=run_state)
    set_live(session, "run_1", "extract", state=None, dag_version_id=None)
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    assert (live(session, "run_1", "extract").dag_version_id is not None) == AIRFLOW_33
    cleared.undo_to_before()
    assert live(session, "run_1", "extract").dag_version_id is None


def test_versions_given_to_others_stay_in_a_run_that_goes_on(dag, session):
    set_live(session, "run_1", "extract", state=None, dag_version_id=None)
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    given = live(session, "run_1", "extract").dag_version_id
    set_run(session, "run_1", _state="success")
    cleared.undo()
    assert live(session, "run_1", "extract").dag_version_id == given


def test_a_version_that_was_removed_since_cannot_come_back(dag, newer_version, session):
    """``airflow db clean`` removes a version once no task instance has it."""
    cleared = Clear(days(1, 4, run_on_latest_version=True), session)
    session.execute(delete(DagVersion).where(DagVersion.version_number == 1))
    session.commit()
    before = everything(session)
    done = undo(cleared.plan)
    assert (done.put_back, done.stayed) == (0, 12)
    assert diff_snapshots(before, everything(session)) == {}


def test_what_refers_to_another_table_is_kept(dag, session):
    """A backfill may be gone since; the clear has no part in that."""
    backfill = Backfill(dag_id="etl", from_date=START, to_date=START, dag_run_conf={})
    session.add(backfill)
    session.flush()
    set_run(session, "run_1", backfill_id=backfill.id)
    plan = clear(days(1, 1))
    set_run(session, "run_1", backfill_id=None)
    session.execute(delete(Backfill))
    session.commit()
    assert undo(plan).put_back == 3
    assert (live_run(session, "run_1").state, live_run(session, "run_1").backfill_id) == ("failed", None)


# --- What hangs on rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "running"])
def test_deadlines_are_set_back(dag, session, state):
    run = live_run(session, "run_1")
    set_run(session, "run_1", _state=state)
    deadline = add_deadline(run, session=session).deadline_time
    cleared = Clear(days(1, 1), session)
    session.expire_all()
    assert session.scalar(select(Deadline.deadline_time)) != deadline
    cleared.undo_to_before()


def test_a_deadline_missed_since_stays_missed(dag, session):
    add_deadline(live_run(session, "run_1"), session=session)
    cleared = Clear(days(1, 1), session)
    session.execute(update(Deadline).values(missed=True))
    session.commit()
    at = everything(session)["deadline"]
    assert cleared.undo().put_back == 3
    assert everything(session)["deadline"] == at


def test_the_deadline_of_a_run_that_goes_on_stays(dag, session):
    add_deadline(live_run(session, "run_1"), session=session)
    cleared = Clear(days(1, 1), session)
    at = everything(session)["deadline"]
    advance("etl", "run_1", "extract", "queued", session=session)
    assert cleared.undo().put_back == 2
    assert everything(session)["deadline"] == at


@pytest.mark.sqlite
def test_reschedules_return_where_their_ids_are_taken(dag, session):
    """SQLite gives the id of a deleted row to the next one."""
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"transform": "up_for_reschedule", "load": "success"}, session=session)
    extract, load, transform = task_instances(run, session=session)
    del extract
    leave_trail(transform, "rescheduled", session=session)
    session.commit()

    def reschedules():
        session.rollback()
        rows = session.scalars(select(TaskReschedule).order_by(TaskReschedule.ti_id, TaskReschedule.id))
        return [(row.ti_id, row.start_date, row.end_date, row.reschedule_date) for row in rows]

    before = reschedules()
    plan = clear(days(9, 9, task_regex="^transform$"))
    other = live(session, "live", "load").id
    session.add(TaskReschedule(other, START, START + timedelta(seconds=5), START))
    session.commit()
    [newcomer] = reschedules()
    assert undo(plan).put_back == 1
    assert sorted(reschedules()) == sorted([*before, newcomer])
    del load


def test_a_trigger_that_is_gone_is_not_missed(dag, session):
    """Marked as done while it was deferred; Airflow cleans the trigger up later."""
    ti = live(session, "run_1", "load")
    leave_trail(ti, "trigger", session=session)
    session.commit()
    cleared = Clear(days(1, 1, task_regex="^load$"), session)
    set_live(session, "run_1", "load", state="scheduled")
    Trigger.clean_unused()
    assert session.scalar(select(func.count()).select_from(Trigger)) == 0
    if not chosen.postgresql:
        set_live(session, "run_1", "load", state=None)
    assert cleared.undo().put_back == 1
    found = live(session, "run_1", "load")
    assert (found.state, found.trigger_id) == ("upstream_failed", None)


# --- Locks --------------------------------------------------------------------------------------------------


def test_locks_are_taken_in_order(dag, session, backend):
    plan = clear(days(1, 2))
    locked = []
    names = ["slot_pool", "dag_run", "task_instance"]

    def note(connection, cursor, statement, *rest):
        words = " ".join(statement.split())
        if "pg_advisory_xact_lock" in words:
            locked.append("advisory lock")
        elif words.startswith("SELECT") and "ORDER BY" in words and "AS " not in words:
            locked.extend(name for name in names if words.split(" FROM ")[1].split()[0] == name)

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        undo(plan)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    middle = "advisory lock" if backend.name == "postgresql" else "slot_pool"
    assert locked == ["dag_run", middle, "task_instance"]


@pytest.fixture
def scheduler(session, backend):
    """A second session, as the scheduler's."""
    if backend.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    from airflow import settings as airflow_settings

    with airflow_settings.NonScopedSession() as other:
        yield other
        other.rollback()


CRITICAL_SECTION = {"key": DBLocks.SCHEDULER_CRITICAL_SECTION.value}


def free_rows(session, table):
    """Count the rows of a table that nobody holds."""
    found = session.execute(text(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED")).all()
    return len(found)


def test_an_undo_waits_for_the_scheduler(dag, session, scheduler):
    plan = clear(days(1, 1))
    scheduler.execute(text("SELECT pg_advisory_xact_lock(:key)"), CRITICAL_SECTION)
    with ThreadPoolExecutor(1) as pool:
        undoing_it = pool.submit(undo, plan)
        assert wait([undoing_it], timeout=1.5).not_done
        # It holds the dag run by now, and no task instance yet.
        session.rollback()
        assert (free_rows(session, "dag_run"), free_rows(session, "task_instance")) == (3, 12)
        session.rollback()
        scheduler.rollback()
        assert undoing_it.result(timeout=30).put_back == 3


def test_the_scheduler_queues_nothing_during_an_undo(dag, session, scheduler, monkeypatch):
    plan = clear(days(1, 1))
    locked, go_on = threading.Event(), threading.Event()
    real = undo_batches.record_verdicts

    def slowly(*args, **more):
        locked.set()
        assert go_on.wait(30)
        real(*args, **more)

    monkeypatch.setattr(undo_batches, "record_verdicts", slowly)
    with ThreadPoolExecutor(1) as pool:
        undoing_it = pool.submit(undo, plan)
        try:
            assert locked.wait(30)
            tries = text("SELECT pg_try_advisory_xact_lock(:key)")
            assert scheduler.scalar(tries, CRITICAL_SECTION) is False
            assert (free_rows(scheduler, "dag_run"), free_rows(scheduler, "task_instance")) == (3, 9)
            scheduler.rollback()
        finally:
            go_on.set()
        assert undoing_it.result(timeout=30).put_back == 3
    assert scheduler.scalar(tries, CRITICAL_SECTION) is True


def test_what_is_queued_before_the_locks_stays(dag, session, scheduler):
    """The scheduler's critical section commits while the undo waits for it."""
    plan = clear(days(1, 1))
    set_live(session, "run_1", "extract", state="scheduled")
    scheduler.execute(text("SELECT pg_advisory_xact_lock(:key)"), CRITICAL_SECTION)
    with ThreadPoolExecutor(1) as pool:
        undoing_it = pool.submit(undo, plan)
        assert wait([undoing_it], timeout=1).not_done
        set_live(scheduler, "run_1", "extract", state="queued")
        done = undoing_it.result(timeout=30)
    assert (done.put_back, done.stayed) == (2, 1)
    assert live(session, "run_1", "extract").state == "queued"


def test_an_undo_that_does_not_come_out_as_before_is_rolled_back(dag, session, monkeypatch):
    plan = clear(days(1, 1))
    real = restore.restore_task_instances

    def meddling(*args):
        real(*args)
        args[-1].execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(max_tries=77))

    monkeypatch.setattr(restore, "restore_task_instances", meddling)
    before = snapshot(session)
    session.rollback()
    given_up = undo(plan)
    assert (given_up.undone_runs, given_up.put_back, given_up.is_undoing) == (0, 0, False)
    assert "not restored exactly" in given_up.left_out.reason
    # What was asked for, and why it ended, is on record; no row of Airflow's is touched.
    assert set(diff_snapshots(before, snapshot(session))) == {PAUSE, "log", "safe_clear_plan"}


# --- The service --------------------------------------------------------------------------------------------


def test_chosen_runs_come_back_and_the_others_stay_cleared(dag, session):
    cleared = Clear(days(1, 3), session)
    done = cleared.undo("run_2")
    assert (done.status, done.is_undone, done.is_undoing, done.undone_runs) == ("applied", True, False, 1)
    now_and_then = everything(session)
    for table in ("task_instance", "dag_run"):
        rows = {run_id: [row for row in now_and_then[table] if row["run_id"] == run_id] for run_id in RUNS}
        for run_id, source in {"run_1": cleared.cleared, "run_2": cleared.before}.items():
            assert rows[run_id] == [row for row in source[table] if row["run_id"] == run_id]
    with pytest.raises(Refused) as refused:
        undo(done, "run_2")
    assert refused.value.problem.reason == "There is nothing to undo."
    cleared.undo("run_1", "run_3")
    assert diff_snapshots(cleared.before, everything(session)) == {}
    assert reread(done, session).status == "undone"


RUNS = ("run_1", "run_2", "run_3", "run_4")


def test_a_run_that_is_not_of_the_plan_is_no_undo(dag, session):
    plan = clear(days(1, 1))
    before = snapshot(session)
    session.rollback()
    with pytest.raises(Refused) as refused:
        undo(plan, "run_4")
    assert refused.value.status == 409
    assert diff_snapshots(before, snapshot(session)) == {}


def test_batch_by_batch_in_the_name_of_who_asked(dag, session, small_batches):
    cleared = Clear(days(1, 3), session)
    plan = undo_step(cleared.plan)
    assert (plan.status, plan.is_undoing, plan.undone_runs, plan.undo_asked_runs) == ("applied", True, 1, 3)
    # The last run comes first, so that the scheduler meets what is left in order.
    assert [live_run(session, run_id).state for run_id in RUNS] == ["queued", "queued", "failed", "failed"]
    # Who sends the request again goes on in the name of who asked.
    plan = undo_step(plan, actor=OTHER, resume=True)
    plan = undo_step(plan, actor=OTHER)
    assert (plan.status, plan.is_undoing, plan.put_back) == ("undone", False, 9)
    assert diff_snapshots(cleared.before, everything(session)) == {}
    session.rollback()
    found = [batch for batch in plan_list.batches(UUID(plan.id), session) if batch.kind == "undo"]
    assert [(batch.number, batch.by_name, batch.dag_runs, batch.task_instances) for batch in found] == [
        (4, "Me", 1, 3),
        (5, "Me", 1, 3),
        (6, "Me", 1, 3),
    ]
    assert [batch.first_run.day for batch in found] == [3, 2, 1]


def test_more_runs_may_be_asked_for_meanwhile(dag, session, small_batches):
    plan = undo_step(clear(days(1, 4)), "run_1", "run_2")
    assert (plan.undo_asked_runs, plan.undone_runs) == (2, 1)
    plan = undo_step(plan, "run_2", "run_4")
    assert (plan.undo_asked_runs, plan.undone_runs) == (3, 2)
    plan = undo_step(plan, resume=True)
    assert (plan.is_undoing, plan.undone_runs, plan.status) == (False, 3, "applied")
    assert live_run(session, "run_3").state == "queued"


def test_whoever_goes_on_with_an_undo_adds_nothing_to_it(dag, session, small_batches):
    """Two drive the undo of two runs; the slower one must not take what is left for all runs."""
    seen = undo_step(clear(days(1, 4)), "run_1", "run_2")
    assert undo_step(seen, resume=True).undone_runs == 2
    assert seen.is_undoing
    after = undo_step(seen, resume=True)
    assert (after.is_undoing, after.undone_runs, after.undo_asked_runs) == (False, 2, 2)
    assert [live_run(session, run_id).state for run_id in RUNS] == ["failed", "failed", "queued", "queued"]


def test_an_undo_gives_up_on_a_busy_database(dag, session, monkeypatch):
    plan = clear(days(1, 2))
    before = snapshot(session)
    session.rollback()

    def busy(*args):
        raise OperationalError("update", {}, Exception("deadlock detected"))

    monkeypatch.setattr(restore, "restore_runs", busy)
    plan = undo(plan)
    assert (plan.is_undoing, plan.undone_runs, plan.undo_asked_runs) == (False, 0, 0)
    assert (plan.left_out.code, plan.left_out.count) == ("database_error", 2)
    changed = {"safe_clear_plan", "log", PAUSE}
    assert set(diff_snapshots(before, snapshot(session))) == changed
    monkeypatch.undo()
    plan = undo(plan)
    assert (plan.put_back, plan.left_out) == (6, None)


@pytest.mark.parametrize("chosen", [(), ("run_1", "run_2")])
def test_an_undo_whose_commit_is_not_answered_goes_on(dag, session, small_batches, monkeypatch, chosen):
    plan = clear(days(1, 2))
    real, lost = steps.undo_next_batch, []

    def answer_lost(*args):
        done = real(*args)
        if len(lost) < 2:
            lost.append(done)
            raise OperationalError("commit", {}, Exception("server closed the connection"))
        return done

    monkeypatch.setattr(steps, "undo_next_batch", answer_lost)
    plan = undo(plan, *chosen)
    assert (plan.status, plan.put_back, lost) == ("undone", 6, [True, True])


def test_the_receipt_tells_what_stayed(dag, session):
    plan = clear(days(1, 2))
    advance("etl", "run_2", "extract", "queued", session=session)
    plan = undo(plan, actor=OTHER)
    assert (plan.put_back, plan.stayed, plan.applied_by_name) == (5, 1, "Me")
    [cleared, undone] = plan_list.batches(UUID(plan.id), session)
    assert (cleared.kind, cleared.by_name, cleared.reason) == ("clear", "Me", "because")
    assert (cleared.dag_runs, cleared.task_instances, cleared.stayed) == (2, 6, 0)
    assert (undone.kind, undone.by_name, undone.reason) == ("undo", "Somebody else", "I mixed the date")
    assert (undone.dag_runs, undone.task_instances, undone.stayed) == (2, 5, 1)
    assert (undone.first_run, undone.last_run) == (START, START.replace(day=2))


def test_what_comes_back_is_in_the_audit_log(dag, session):
    plan = clear(days(1, 1))
    advance("etl", "run_1", "extract", "queued", session=session)
    undo(plan, actor=OTHER)
    rows = session.scalars(select(Log).where(Log.event == "safe_clear_undo").order_by(Log.task_id)).all()
    assert [(row.dag_id, row.run_id, row.task_id, row.map_index) for row in rows] == [
        ("etl", "run_1", "load", -1),
        ("etl", "run_1", "transform", -1),
    ]
    assert {(row.owner, row.owner_display_name) for row in rows} == {("Somebody else", "Somebody else")}
    extras = [json.loads(row.extra) for row in rows]
    assert {(extra["plan_id"], extra["reason"]) for extra in extras} == {(plan.id, "I mixed the date")}


def test_an_undo_writes_nothing_else(dag, session):
    plan = clear(days(1, 1))
    before = snapshot(session)
    session.rollback()
    undo(plan)
    changed = set(diff_snapshots(before, snapshot(session)))
    assert changed <= OWN_TABLES | {"task_instance", "task_instance_history", "dag_run", "log"}
    assert changed & OWN_TABLES == {
        "safe_clear_plan",
        "safe_clear_plan_run",
        "safe_clear_plan_task_instance",
        "safe_clear_plan_batch",
        PAUSE,
    }


def refusal(plan):
    with pytest.raises(Refused) as refused:
        undo_step(plan)
    foreseen = preview_undo(plan, now())
    assert foreseen.problem == refused.value.problem
    assert (foreseen.task_instances, foreseen.runs) == (0, ())
    assert refused.value.status == 409
    return refused.value.problem.reason


def test_no_undo_while_it_is_being_cleared(dag, session, small_batches):
    plan = step(plan_of(days(1, 3)))
    before = snapshot(session)
    session.rollback()
    assert refusal(plan) == "The plan is being cleared."
    assert diff_snapshots(before, snapshot(session)) == {}


def test_no_undo_beside_somebody_who_resumes(dag, session, small_batches):
    stopped = stop_plan(step(plan_of(days(1, 3))), ME, now())
    step(stopped, OTHER, resume=True)
    before = snapshot(session)
    session.rollback()
    with pytest.raises(Refused) as refused:
        undo(stopped)
    assert refused.value.status == 409
    assert diff_snapshots(before, snapshot(session)) == {}


def test_no_undo_where_nothing_was_cleared(dag, session):
    assert refusal(plan_of(days(1, 1))) == "Nothing was cleared, so there is nothing to undo."


def test_an_undone_plan_is_undone_no_second_time(dag, session):
    plan = clear(days(1, 1))
    done = undo(plan)
    before = everything(session)
    assert refusal(done) == "The plan has already been undone."
    # Also by one who looks at the page from before.
    with pytest.raises(Refused) as refused:
        undo(plan)
    assert refused.value.status == 409
    assert diff_snapshots(before, everything(session)) == {}


def test_no_undo_across_an_upgrade_of_airflow(dag, session, monkeypatch):
    plan = clear(days(1, 1))
    later = later_patch(config.AIRFLOW_VERSION)
    monkeypatch.setattr(config, "AIRFLOW_VERSION", later)
    assert refusal(plan) == f"Airflow {plan.airflow_version} cleared the plan; this is Airflow {later}."


def test_a_stopped_clear_is_undone_and_does_not_go_on(dag, session, small_batches):
    before = everything(session)
    plan = step(plan_of(days(1, 3)))
    plan = stop_plan(plan, OTHER, now())
    assert (plan.status, plan.cleared_runs) == ("stopped", 1)
    assert preview_undo(plan, now()).dag_runs == 1
    plan = undo(plan)
    assert (plan.status, plan.put_back) == ("undone", 3)
    assert diff_snapshots(before, everything(session)) == {}
    with pytest.raises(Refused) as refused:
        step(plan, resume=True)
    assert refused.value.status == 409
    assert refused.value.problem.reason == "The plan has been undone, so it can't continue."
    assert diff_snapshots(before, everything(session)) == {}


def test_a_stopped_clear_that_is_undone_in_part_does_not_go_on(dag, session, small_batches):
    plan = step(step(plan_of(days(1, 3))))
    plan = undo(stop_plan(plan, ME, now()), "run_1")
    assert (plan.status, plan.undone_runs) == ("stopped", 1)
    with pytest.raises(Refused) as refused:
        step(plan, resume=True)
    assert refused.value.status == 409
    assert [live_run(session, run_id).state for run_id in RUNS] == ["failed", "queued", "failed", "failed"]


def test_an_interrupted_clear_is_stopped_and_undone_and_does_not_go_on(
    dag, session, small_batches, monkeypatch
):
    before = everything(session)
    plan = step(plan_of(days(1, 3)))
    set_clock_forward(session, plan, 61)
    plan = reread(plan, session)
    assert plan.is_interrupted
    assert preview_undo(plan, now()).problem.reason == "The plan is being cleared."
    plan = undo(stop_plan(plan, OTHER, now()), actor=OTHER)
    assert (plan.status, plan.put_back, plan.undone_runs) == ("undone", 3, 1)
    assert diff_snapshots(before, everything(session)) == {}
    for resume in (True, False):
        with pytest.raises(Refused):
            step(plan, resume=resume)
    assert diff_snapshots(before, everything(session)) == {}


def test_an_undo_that_breaks_off_says_why_and_the_rest_is_undone_when_asked_again(
    dag, session, small_batches, monkeypatch
):
    before = everything(session)
    plan = clear(days(1, 3))
    real, calls = restore.restore_runs, []

    def breaking(*args):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the plug was pulled")
        real(*args)

    monkeypatch.setattr(restore, "restore_runs", breaking)
    plan = undo(plan)
    assert (plan.is_undoing, plan.undone_runs, plan.put_back) == (False, 1, 3)
    assert (plan.left_out.code, plan.left_out.count, plan.left_out.run_ids) == (
        "internal_error",
        2,
        ("run_1", "run_2"),
    )
    assert [live_run(session, run_id).state for run_id in RUNS] == ["queued", "queued", "failed", "failed"]
    assert undo(plan).status == "undone"
    assert diff_snapshots(before, everything(session)) == {}


def test_of_many_who_undo_each_run_is_undone_once(dag, session, backend, small_batches):
    before = everything(session)
    plan = clear(days(1, 4))

    def attempt(number):
        try:
            return undo(plan).status
        except Refused as refused:
            return refused.status

    callers = 8 if backend.name == "postgresql" else 3
    with ThreadPoolExecutor(callers) as pool:
        outcomes = list(pool.map(attempt, range(callers)))
    assert set(outcomes) <= {"undone", 409}
    assert "undone" in outcomes
    assert diff_snapshots(before, everything(session)) == {}
    done = reread(plan, session)
    assert (done.put_back, done.undone_runs, done.undo_asked_runs) == (12, 4, 4)
    logged = select(func.count()).select_from(Log).where(Log.event == "safe_clear_undo")
    assert session.scalar(logged) == 12
    numbers = [batch.number for batch in plan_list.batches(UUID(plan.id), session)]
    assert numbers == list(range(1, 9))


def test_a_plan_over_undone_runs_may_be_applied(dag, session):
    """After an undo all is as in a preview from before the clear, ids and clear numbers included."""
    earlier = plan_of(days(1, 2))
    undo(clear(days(1, 2)))
    assert clear(earlier).cleared == 6


def test_an_error_in_the_clear_leaves_an_undo_for_what_was_cleared(dag, session, small_batches, monkeypatch):
    before = everything(session)
    real, calls = clear_runs.clear_task_instances, []

    def breaking(tis, session, **options):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the plug was pulled")
        real(tis, session, **options)

    monkeypatch.setattr(clear_runs, "clear_task_instances", breaking)
    plan = plan_of(days(1, 4))
    drive(confirm(plan).id)
    plan = undo(reread(plan, session))
    assert (plan.status, plan.put_back, plan.undone_runs) == ("undone", 6, 2)
    assert diff_snapshots(before, everything(session)) == {}
