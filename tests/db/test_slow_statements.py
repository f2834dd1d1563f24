"""What becomes of undos and clears whose statements take long while the scheduler's lock is held."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from uuid import UUID

import pytest
from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.utils.db import DBLocks
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.clear import lock_limits, locks
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.stop_reason import LeftOutRuns, StopKind, StopReason
from safe_clear_plugin.services.clear import batch_sizers
from safe_clear_plugin.services.undo import undo
from safe_clear_plugin.storage.undo import left_out_runs, restore
from tests.db.acting import ME, clear, days, end_pause, now, plan_of, reread, step
from tests.support.driving import try_once
from tests.support.factories import set_states
from tests.support.options import chosen
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.driver]
on_postgresql = pytest.mark.skipif(not chosen.postgresql, reason="SQLite has no lock and no timeout")

LIMIT = 0.4
SLOW = 6.0
LONGEST_HOLD = 3.0
"""A few statements at their limit each, on a busy machine."""
STATEMENT_TIMEOUT = text("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'")
HOLDERS = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND objid = :key AND granted"
)


@pytest.fixture
def dag(session, monkeypatch):
    monkeypatch.setattr(lock_limits, "STATEMENT_SECONDS", LIMIT)
    return store_etl(session, runs=5)


@contextmanager
def slow_run(session, *run_ids):
    """Make PostgreSQL take long over each dag run of these that is written to."""
    session.rollback()
    names = ", ".join(f"'{run_id}'" for run_id in run_ids)
    session.execute(
        text(
            "CREATE FUNCTION sleep_a_while() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN PERFORM pg_sleep({SLOW}); RETURN NEW; END'"
        )
    )
    session.execute(
        text(
            "CREATE TRIGGER slow BEFORE UPDATE ON dag_run FOR EACH ROW "
            f"WHEN (NEW.run_id IN ({names})) EXECUTE FUNCTION sleep_a_while()"
        )
    )
    session.commit()
    try:
        yield
    finally:
        session.rollback()
        session.execute(text("DROP FUNCTION sleep_a_while CASCADE"))
        session.commit()


class Watch:
    """Looks from a connection of its own at how long the scheduler's lock is held in one go."""

    def __init__(self):
        self.longest = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        key, since = DBLocks.SCHEDULER_CRITICAL_SECTION.value, None
        with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not self.over.wait(0.02):
                held = connection.scalar(HOLDERS, {"key": key})
                since = (since or time.monotonic()) if held else None
                self.longest = max(self.longest, time.monotonic() - since if since else 0.0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def undo_to_the_end(plan, session, *run_ids):
    """Undo, and leave the schedulers no turn meanwhile."""
    plan = undo.undo_plan(plan, run_ids, "", ME, now())
    end = time.monotonic() + 60
    while time.monotonic() < end:
        end_pause(session)
        plan = try_once(plan.id)
        if not plan.is_undoing:
            return plan
        # Its next step may be due a little later.
        time.sleep(0.05)
    raise AssertionError("it does not come to an end")


def states(session):
    """Return which runs are as the clear left them."""
    session.rollback()
    return {
        run_id for run_id, state in session.execute(select(DagRun.run_id, DagRun._state)) if state == "queued"
    }


@on_postgresql
def test_one_slow_run_is_left_out_of_an_undo_and_the_others_are_put_back(dag, session):
    plan = clear(days(1, 5))
    with slow_run(session, "run_3"), Watch() as watch:
        plan = undo_to_the_end(plan, session)
    assert 0 < watch.longest < LONGEST_HOLD
    assert (plan.undone_runs, plan.undo_asked_runs, plan.put_back, plan.stayed) == (4, 4, 12, 0)
    assert states(session) == {"run_3"}
    assert plan.left_out.code == "statement_timeout"
    assert "run_3 stays cleared completely" in plan.left_out.remedy
    assert "pg_sleep" not in str(plan.left_out)
    assert list(plan.left_out.run_ids) == left_out_runs.run_ids_of(plan) == ["run_3"]
    # Once the database is well again, the rest is undone, and nothing is said to be left out.
    plan = undo_to_the_end(plan, session)
    assert (plan.status, plan.put_back, plan.left_out) == ("undone", 15, None)


@on_postgresql
def test_a_program_that_asks_for_all_again_does_not_ask_for_what_was_left_out(dag, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    plan = clear(days(1, 3))
    with slow_run(session, "run_3"):
        plan = try_once(undo.undo_plan(plan, (), "", ME, now()).id)
        assert (plan.undo_asked_runs, plan.is_undoing) == (2, True)
        while plan.is_undoing:
            end_pause(session)
            plan = try_once(undo.undo_plan(plan, (), "", ME, now()).id)
    assert (plan.undone_runs, states(session)) == (2, {"run_3"})


@on_postgresql
def test_a_failed_try_teaches_the_pace_nothing_but_to_take_less(dag, session, monkeypatch):
    plan = clear(days(1, 4))
    with slow_run(session, "run_1", "run_2", "run_3", "run_4"):
        plan = try_once(undo.undo_plan(plan, (), "", ME, now()).id)
        assert (plan.is_undoing, plan.undo_asked_runs, plan.undone_runs) == (True, 4, 0)
    assert (batch_sizers.UNDO.seconds_each, batch_sizers.UNDO.next_size(500)) == (None, 6)


@on_postgresql
def test_a_clear_of_what_is_scheduled_stops_at_a_slow_run_and_says_why(dag, session):
    for run in session.scalars(select(DagRun)):
        set_states(run, {"load": "scheduled"}, session=session)
    session.commit()
    plan = plan_of(days(1, 4))
    with slow_run(session, "run_3"), Watch() as watch:
        plan = step(plan)
        while plan.status == "applying":
            end_pause(session)
            plan = step(plan)
    assert 0 < watch.longest < LONGEST_HOLD
    assert (plan.status, plan.cleared_runs, plan.stop_reason.code) == ("stopped", 2, "statement_timeout")
    assert "You can resume the plan" in plan.stop_reason.remedy
    assert states(session) == {"run_1", "run_2"}
    assert batch_sizers.CLEAR.seconds_each is None
    end_pause(session)
    plan = step(plan, resume=True)
    while plan.status == "applying":
        end_pause(session)
        plan = step(plan)
    assert (plan.status, plan.cleared_runs) == ("applied", 4)


@pytest.fixture
def deployment_limit(session):
    """Set a timeout on each connection as a deployment does for its role."""
    listeners = []

    def limit(value):
        def set_timeout(connection, _):
            cursor = connection.cursor()
            cursor.execute(f"SET statement_timeout = '{value}'")
            cursor.close()
            connection.commit()

        listeners.append(set_timeout)
        event.listen(settings.engine, "connect", set_timeout)
        session.rollback()
        settings.engine.dispose()

    yield limit
    for listener in listeners:
        event.remove(settings.engine, "connect", listener)
    session.rollback()
    settings.engine.dispose()


@on_postgresql
@pytest.mark.parametrize(
    ("deployed", "locked", "ms"), [("0", "10000", "0"), ("7s", "7000", "7000"), ("1min", "10000", "60000")]
)
def test_the_timeout_of_the_deployment_is_kept_if_stricter_and_comes_back(
    deployment_limit, deployed, locked, ms
):
    deployment_limit(deployed)
    with new_session() as session:
        locks.lock_out_scheduler(session)
        assert session.scalar(STATEMENT_TIMEOUT) == locked
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        # What reads with a limit of its own puts back this one.
        assert statement_timeout.read(select(1), statement_timeout.Budget(5), session)
        assert session.scalar(STATEMENT_TIMEOUT) == locked
        assert (
            statement_timeout.read(text("SELECT pg_sleep(1)"), statement_timeout.Budget(0.1), session) is None
        )
        assert session.scalar(STATEMENT_TIMEOUT) == locked
        session.commit()
        assert session.scalar(text("SELECT pg_backend_pid()")) == pid
        assert session.scalar(STATEMENT_TIMEOUT) == ms


@on_postgresql
def test_all_statements_together_have_a_limit_too(session, monkeypatch):
    monkeypatch.setattr(lock_limits, "TRANSACTION_SECONDS", 0.5)

    def many_statements():
        with new_session() as locked:
            locks.lock_out_scheduler(locked)
            for _ in range(50):
                locked.execute(text("SELECT pg_sleep(0.1)"))

    begun = time.monotonic()
    with pytest.raises(OperationalError, match="statement timeout"):
        many_statements()
    # All fifty take five seconds.
    assert 0.4 < time.monotonic() - begun < 4.5


@on_postgresql
def test_an_api_server_that_is_gone_does_not_keep_the_lock(session, monkeypatch):
    monkeypatch.setattr(lock_limits, "IDLE_SECONDS", 0.2)
    plan = _cleared(session)
    real = restore.restore_runs

    def hangs(*args):
        real(*args)
        time.sleep(4)

    monkeypatch.setattr(restore, "restore_runs", hangs)
    plan = undo.undo_plan(plan, (), "", ME, now())
    with Watch() as watch:
        try_once(plan.id)
    # Idle for 0.2 s; a busy machine takes its time.
    assert 0 < watch.longest < 3
    assert reread(plan, session).undone_runs == 0


def _cleared(session):
    store_etl(session, runs=1)
    return clear(days(1, 1))


def test_what_was_left_out_is_noted_beside_what_ended_the_clear(dag, session):
    plan = clear(days(1, 3))
    session.execute(text('UPDATE safe_clear_plan SET problem = \'{"kind": "drift"}\''))
    left_out_runs.record(_id(plan), "run_2", {"reason": "slow"}, session)
    left_out_runs.record(_id(plan), "run_1", {"reason": "slow"}, session)
    session.commit()
    plan = reread(plan, session)
    assert plan.stop_reason == StopReason(StopKind.DRIFT)
    assert plan.left_out == LeftOutRuns(("run_2", "run_1"), reason="slow")
    left_out_runs.remove(_id(plan), ["run_2"], session)
    left_out_runs.remove(_id(plan), ["run_1"], session)
    session.commit()
    plan = reread(plan, session)
    assert (plan.stop_reason, plan.left_out) == (StopReason(StopKind.DRIFT), None)


def _id(plan):
    return UUID(plan.id)
