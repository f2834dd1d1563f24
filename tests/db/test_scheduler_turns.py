"""How undos, and clears of what is scheduled, leave the scheduler's lock to the schedulers."""

from __future__ import annotations

import multiprocessing
import time

import pytest
from airflow import settings
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.driver import steps
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.undo import restore
from tests.db.acting import ME, clear, confirm, days, end_pause, now, plan_of, reread
from tests.support.driving import drive, drive_once, set_clock_forward, try_once
from tests.support.factories import set_states, task_instances
from tests.support.options import chosen
from tests.support.scenes import store_etl
from tests.support.scheduler_lock import Recorder, shares

pytestmark = [pytest.mark.backend, pytest.mark.driver]
LONG = 30


@pytest.fixture
def dag(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    return store_etl(session, runs=6)


@pytest.fixture
def slow_undo(monkeypatch):
    """Make each batch of an undo take its time under the lock."""
    real = restore.restore_runs

    def slow(*args):
        real(*args)
        time.sleep(0.1)

    monkeypatch.setattr(restore, "restore_runs", slow)


@pytest.fixture
def schedulers_turn(session):
    """Leave the lock to the schedulers for long."""
    session.rollback()
    scheduler_pause.extend(LONG, session)
    session.commit()


def undo_at_once(plan):
    """Undo all of it with a driver that never waits by itself; return when the lock was held."""
    with Recorder() as recorder:
        drive(undo_plan(plan, (), "", ME, now()).id)
    return recorder.held


def test_one_driver_that_never_waits_holds_the_lock_half_of_the_time_at_most(dag, session, slow_undo):
    plan = clear(days(1, 6))
    held = undo_at_once(plan)
    assert (len(held), reread(plan, session).put_back) == (6, 18)
    assert max(shares(held)) <= 0.5


def _in_a_process(plan, results):
    results.put(undo_at_once(plan))


@pytest.mark.skipif(not chosen.postgresql, reason="SQLite has one api-server")
def test_two_drivers_on_two_servers_hold_the_lock_half_of_the_time_at_most_together(session, dag, slow_undo):
    store_etl(session, "other", runs=6)
    plans = [clear(days(1, 6)), clear(plan_of(days_of("other")))]
    session.rollback()
    settings.Session.remove()
    settings.engine.dispose()
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    servers = [fork.Process(target=_in_a_process, args=(plan, results)) for plan in plans]
    for server in servers:
        server.start()
    held = [interval for _ in servers for interval in results.get()]
    for server in servers:
        server.join(60)
    assert len(held) == 12
    assert all(reread(plan, session).put_back == 18 for plan in plans)
    assert max(shares(held)) <= 0.5


def days_of(dag_id):
    from dataclasses import replace

    return replace(days(1, 6), dag_id=dag_id)


def test_out_of_turn_a_driver_does_nothing_and_comes_back_in_turn(dag, session, schedulers_turn):
    plan = clear(days(1, 3))
    begun = time.monotonic()
    plan = undo_plan(plan, ("run_1", "run_2"), "", ME, now())
    plan = try_once(plan.id)
    assert time.monotonic() - begun < LONG / 2
    assert (plan.is_undoing, plan.undo_asked_runs, plan.undone_runs, plan.batches) == (True, 2, 0, 3)
    # Asked again it asks for no more.
    assert undo_plan(plan, ("run_1",), "", ME, now()).undo_asked_runs == 2
    end_pause(session)
    # Not before its turn comes, though that came early.
    assert try_once(plan.id).undone_runs == 0
    set_clock_forward(session, plan, LONG)
    plan = drive(plan.id)
    assert (plan.undone_runs, plan.put_back) == (2, 6)


def test_out_of_turn_an_undo_is_refused_as_ever(dag, session, schedulers_turn):
    plan = clear(days(1, 2))
    with pytest.raises(Refused, match="continued since"):
        undo_plan(plan, (), "", ME, now(), seen_runs=1)
    with pytest.raises(Refused, match="1 run of etl is not cleared"):
        undo_plan(plan, ("no such run",), "", ME, now())
    assert reread(plan, session).undo_asked_runs == 0


def test_a_batch_that_fails_is_followed_by_a_pause_too(dag, session, monkeypatch):
    plan = clear(days(1, 2))

    def fails(*_):
        time.sleep(0.2)
        raise OperationalError("update", {}, Exception("deadlock detected"))

    monkeypatch.setattr(restore, "restore_runs", fails)
    with Recorder() as recorder:
        plan = drive(undo_plan(plan, (), "", ME, now()).id)
    assert plan.left_out.code == "database_error"
    assert len(recorder.held) == steps.AT_ONCE
    assert all(share <= 0.5 for share in shares(recorder.held))


def test_a_clear_of_what_is_scheduled_takes_turns_too(dag, session, schedulers_turn):
    run = task_instances_of(session, "run_1")
    set_states(run, {"load": "scheduled"}, session=session)
    plan = plan_of(days(1, 2))
    plan = try_once(confirm(plan).id)
    assert (plan.status, plan.cleared) == ("applying", 0)
    end_pause(session)
    set_clock_forward(session, plan, LONG)
    assert drive_once(plan.id).cleared == 3


def test_a_clear_of_nothing_that_is_scheduled_waits_for_nobody(dag, session, schedulers_turn):
    assert clear(days(1, 2)).cleared == 6


def task_instances_of(session, run_id):
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
    assert task_instances(run, session=session)
    return run


@pytest.mark.skipif(not chosen.postgresql, reason="SQLite has one writer")
def test_of_two_transactions_one_has_its_turn_and_the_other_does_not_queue(dag, session):
    with settings.NonScopedSession() as other:
        assert scheduler_pause.take_turn(other)
        assert not scheduler_pause.take_turn(session)
        other.rollback()
        assert scheduler_pause.take_turn(session)
        session.rollback()


def test_a_pause_is_never_cut_short(session):
    scheduler_pause.extend(LONG, session)
    scheduler_pause.extend(1, session)
    assert LONG - 1 < scheduler_pause.seconds_left(session) <= LONG
    scheduler_pause.extend(2 * LONG, session)
    assert scheduler_pause.seconds_left(session) > LONG
    session.rollback()
    assert scheduler_pause.seconds_left(session) == 0
