"""How undos, and clears of what is scheduled, leave the scheduler's lock to the schedulers."""

from __future__ import annotations

import multiprocessing
import time

import pytest
from airflow import settings
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear import scheduler_turns
from safe_clear_plugin.services.clear.scheduler_turns import NotYet
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.undo import restore
from tests.db.acting import ME, clear, days, end_pause, now, plan_of, reread, step, undo_step
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
    """Leave the lock to the schedulers for longer than any request waits."""
    session.rollback()
    scheduler_pause.extend(LONG, session)
    session.commit()


def undo_at_once(plan):
    """Undo all of it as a program does that never waits; return when the lock was held."""
    with Recorder() as recorder:
        plan = undo_plan(plan, (), "", ME, now())
        while plan.is_undoing:
            plan = undo_plan(plan, (), "", ME, now(), resume=True)
    return recorder.held


def test_one_program_that_never_waits_holds_the_lock_half_of_the_time_at_most(dag, session, slow_undo):
    plan = clear(days(1, 6))
    held = undo_at_once(plan)
    assert (len(held), reread(plan, session).put_back) == (6, 18)
    assert max(shares(held)) <= 0.5


def _in_a_process(plan, results):
    results.put(undo_at_once(plan))


@pytest.mark.skipif(not chosen.postgresql, reason="SQLite has one api-server")
def test_two_programs_on_two_servers_hold_the_lock_half_of_the_time_at_most_together(session, dag, slow_undo):
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


def test_a_request_out_of_turn_does_nothing_but_note_what_is_asked_for(dag, session, schedulers_turn):
    plan = clear(days(1, 3))
    begun = time.monotonic()
    plan = undo_step(plan, "run_1", "run_2")
    assert time.monotonic() - begun < LONG / 2
    assert (plan.is_undoing, plan.undo_asked_runs, plan.undone_runs, plan.batches) == (True, 2, 0, 3)
    assert LONG / 2 < scheduler_turns.seconds_left() <= LONG
    # Sent again it asks for no more.
    assert undo_step(plan, "run_1").undo_asked_runs == 2
    assert undo_step(plan, resume=True).undone_runs == 0
    end_pause(session)
    while plan.is_undoing:
        plan = undo_step(plan, resume=True)
    assert (plan.undone_runs, plan.put_back) == (2, 6)


def test_out_of_turn_an_undo_is_refused_as_ever(dag, session, schedulers_turn):
    plan = clear(days(1, 2))
    with pytest.raises(Refused, match="continued since"):
        undo_plan(plan, (), "", ME, now(), seen_runs=1)
    with pytest.raises(Refused, match="nothing to undo"):
        undo_plan(plan, ("no such run",), "", ME, now())
    assert reread(plan, session).undo_asked_runs == 0


@pytest.mark.parametrize(("seconds", "longest_wait", "tries"), [(0.2, 5, 3), (2.0, 0.1, 1)])
def test_a_batch_that_fails_is_followed_by_a_pause_and_the_failure_is_told(
    dag, session, monkeypatch, seconds, longest_wait, tries
):
    monkeypatch.setattr(scheduler_turns, "LONGEST_WAIT", longest_wait)
    plan = clear(days(1, 2))

    def fails(*_):
        time.sleep(seconds)
        raise OperationalError("update", {}, Exception("deadlock detected"))

    monkeypatch.setattr(restore, "restore_runs", fails)
    with Recorder() as recorder, pytest.raises(Refused) as refused:
        undo_step(plan)
    assert refused.value.status == 503
    # It is tried again only where its turn comes soon.
    assert len(recorder.held) == tries
    assert all(share <= 0.5 for share in shares(recorder.held))
    assert scheduler_turns.seconds_left() > seconds / 2


def test_a_clear_of_what_is_scheduled_takes_turns_too(dag, session, schedulers_turn):
    run = task_instances_of(session, "run_1")
    set_states(run, {"load": "scheduled"}, session=session)
    plan = plan_of(days(1, 2))
    plan = step(plan)
    assert (plan.status, plan.cleared) == ("applying", 0)
    end_pause(session)
    assert step(plan).cleared == 3


def test_a_clear_of_nothing_that_is_scheduled_waits_for_nobody(dag, session, schedulers_turn):
    assert clear(days(1, 2)).cleared == 6


def task_instances_of(session, run_id):
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
    assert task_instances(run, session=session)
    return run


def test_few_requests_wait_at_once_and_none_for_long(monkeypatch):
    """The others are told when to come back, so that the api-server's threads are free."""
    slept = []
    monkeypatch.setattr(scheduler_turns.time, "sleep", slept.append)

    def not_yet(seconds):
        def step():
            raise NotYet(seconds)

        return step

    with pytest.raises(NotYet):
        scheduler_turns.waiting_shortly(not_yet(scheduler_turns.LONGEST_WAIT + 0.1))
    assert slept == []
    with pytest.raises(NotYet):
        scheduler_turns.waiting_shortly(not_yet(0.3))
    assert slept == [0.3]
    for _ in range(scheduler_turns.MOST_WAITING):
        scheduler_turns._places.acquire()
    try:
        with pytest.raises(NotYet):
            scheduler_turns.waiting_shortly(not_yet(0.2))
    finally:
        for _ in range(scheduler_turns.MOST_WAITING):
            scheduler_turns._places.release()
    assert slept == [0.3]


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
