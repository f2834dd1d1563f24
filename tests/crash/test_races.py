"""Many at once on PostgreSQL: of those who want the same, one gets it, and no run is cleared twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.clear import clear_runs, locks
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.undo import undo_batches
from tests.crash.history import (
    DAG_ID,
    ME,
    OTHER,
    PER_RUN,
    audited,
    batch_sizes,
    but_for_updated_at,
    clear_all,
    everything,
    fresh,
    keys,
    now,
    plan_all,
    step,
    store_nightly,
    tries_in_history,
    undo_all,
)
from tests.support.driving import drive_once
from tests.support.options import chosen
from tests.support.snapshots import diff_snapshots

pytestmark = pytest.mark.skipif(not chosen.postgresql, reason="SQLite has one writer")

MANY = 20
ROUNDS = 40 if chosen.full else 4
RUNS = tuple(f"run_{number}" for number in range(1, 11))
WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


@pytest.fixture(autouse=True)
def nightly(session, monkeypatch):
    """Ten runs, two in a batch. Whatever is done to them, nobody ends in a deadlock."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", str(2 * PER_RUN))
    store_nightly(session, runs=len(RUNS))
    before = session.scalar(DEADLOCKS)
    yield
    session.rollback()
    assert session.scalar(DEADLOCKS) == before


def at_once(*works):
    """Call all functions at the same moment, each in a thread; return what each returned or was refused."""
    barrier = threading.Barrier(len(works))

    def run(work):
        barrier.wait()
        try:
            return work()
        except Refused as refused:
            return refused

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


def done_runs(plan, session):
    return {run.run_id for run in plan_reader.runs(UUID(plan.id), session) if run.applied_at}


def clear_numbers(session):
    session.rollback()
    return dict(session.execute(select(DagRun.run_id, DagRun.clear_number)).all())


def check_cleared_once(plan, session):
    """Check that all ten runs were cleared by this plan, and once."""
    assert clear_numbers(session) == dict.fromkeys(RUNS, 1)
    assert audited(plan, "safe_clear", session) == keys(session, set(RUNS))
    assert set(Counter(tries_in_history(session)).values()) == {1}
    assert batch_sizes(plan, "clear", session) == [2] * 5


def test_of_twenty_users_who_apply_a_plan_one_wins(session):
    plan = plan_all()
    users = [Actor(str(number), f"User {number}") for number in range(MANY)]
    outcomes = at_once(*(lambda user=user: clear_all(plan, user) for user in users))
    [winner] = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
    assert winner.status == "applied"
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [one.status for one in refused] == [409] * (MANY - 1)
    assert all(winner.applied_by_name in one.problem.reason for one in refused)
    assert set(session.scalars(select(Log.owner).where(Log.event == "safe_clear"))) == {
        winner.applied_by_name
    }
    check_cleared_once(plan, session)


def test_twenty_requests_of_one_user_clear_once(session):
    plan = plan_all()
    outcomes = at_once(*[lambda: clear_all(plan)] * MANY)
    assert [outcome.status for outcome in outcomes] == ["applied"] * MANY
    check_cleared_once(plan, session)


def test_twenty_who_resume_clear_once(session):
    plan = stop_plan(step(plan_all()), OTHER, now())
    assert plan.status == "stopped"
    users = [Actor(str(number), f"User {number}") for number in range(MANY)]
    outcomes = at_once(*(lambda user=user: clear_all(plan, user, resume=True) for user in users))
    # Whoever comes when it is done is told that it was applied, by whom it was first.
    assert {outcome.status for outcome in outcomes} <= {"applied", 409}
    check_cleared_once(plan, session)


def test_of_two_overlapping_plans_one_wins_each_run(session):
    """Round after round, on the same history: each undo brings it back."""
    before = but_for_updated_at(everything(session))
    contested = set(RUNS[3:7])
    outcomes = Counter()
    for round_ in range(ROUNDS):
        mine = make_plan(Selection(DAG_ID, run_id=RUNS[:7]), ME, now())
        theirs = make_plan(Selection(DAG_ID, run_id=RUNS[3:]), OTHER, now())
        # At times both are under way before either meets the other's runs.
        if round_ % 2:
            mine, theirs = step(mine), step(theirs, OTHER)
        at_once(lambda plan=mine: clear_all(plan), lambda plan=theirs: clear_all(plan, OTHER))
        mine, theirs = fresh(mine, session), fresh(theirs, session)
        cleared = done_runs(mine, session), done_runs(theirs, session)
        assert not cleared[0] & cleared[1]
        assert clear_numbers(session) == {run: int(run in cleared[0] | cleared[1]) for run in RUNS}
        for plan, runs in ((mine, cleared[0]), (theirs, cleared[1])):
            assert audited(plan, "safe_clear", session) == keys(session, runs)
            if plan.status != "applied":
                assert plan.status == ("stopped" if runs else "stale")
                assert plan.stop_reason.kind == "drift"
                assert {row.run_id for row in plan.stop_reason.moved} <= contested
        outcomes[mine.status, theirs.status] += 1
        assert "applied" in (mine.status, theirs.status)
        for plan in (mine, theirs):
            if plan.cleared_runs:
                assert undo_all(plan).stayed == 0
        assert diff_snapshots(before, but_for_updated_at(everything(session))) == {}
    assert sum(outcomes.values()) == ROUNDS


def test_a_task_that_starts_between_lock_and_clear_waits(session, monkeypatch):
    plan = plan_all()
    [old] = session.scalars(
        select(TaskInstance.id).where(TaskInstance.run_id == "run_3", TaskInstance.task_id == "load")
    )
    session.rollback()
    started = []

    def start():
        # As the execution API does for a worker: by id.
        with settings.engine.begin() as connection:
            change = update(TaskInstance).where(TaskInstance.id == old).values(state="running")
            started.append(connection.execute(change).rowcount)

    worker = threading.Thread(target=start)
    real = clear_runs.clear

    def clear_while_it_starts(*args, **kwargs):
        if not worker.ident and "run_3" in locked:
            worker.start()
            wait_until_blocked(1)
        return real(*args, **kwargs)

    locked: list[str] = []
    real_lock = locks.lock_task_instances

    def lock(dag_id, run_ids, *rest, **options):
        locked.extend(run_ids)
        return real_lock(dag_id, run_ids, *rest, **options)

    monkeypatch.setattr(clear_runs, "clear", clear_while_it_starts)
    monkeypatch.setattr(locks, "lock_task_instances", lock)
    assert clear_all(plan).status == "applied"
    worker.join(60)
    assert started == [0]
    check_cleared_once(plan, session)


@pytest.mark.parametrize("change", [{"last_heartbeat_at": text("now()")}, {"state": "success"}])
def test_what_runs_beside_does_not_wait_for_the_clear(session, monkeypatch, change):
    """Its heartbeats go through while its run is cleared, and it may even end."""
    running = (TaskInstance.run_id == "run_3", TaskInstance.task_id == "load")
    session.execute(update(TaskInstance).where(*running).values(state="running"))
    session.commit()
    plan = plan_all()
    run_pk = session.scalar(select(DagRun.id).where(DagRun.run_id == "run_3"))
    session.rollback()
    beaten: list[int] = []
    real = clear_runs.clear

    def clear_while_it_runs(dag_id, dag_runs, *args, **kwargs):
        cleared = real(dag_id, dag_runs, *args, **kwargs)
        if run_pk in [run.id for run in dag_runs]:
            with settings.engine.begin() as worker:
                worker.execute(text("SET LOCAL lock_timeout = '5s'"))
                beaten.append(worker.execute(update(TaskInstance).where(*running).values(**change)).rowcount)
        return cleared

    monkeypatch.setattr(clear_runs, "clear", clear_while_it_runs)
    done = clear_all(plan)
    assert (done.status, done.stop_reason) == ("applied", None)
    assert beaten == [1]
    assert clear_numbers(session) == dict.fromkeys(RUNS, 1)
    left = session.scalar(select(TaskInstance.state).where(*running))
    assert left == change.get("state", "running")


def test_a_run_that_moves_to_the_latest_version_is_locked_whole(session, monkeypatch):
    """Airflow looks at each of its task instances then, and may write what runs beside."""
    running = (TaskInstance.run_id == "run_4", TaskInstance.task_id == "load")
    session.execute(update(TaskInstance).where(*running).values(state="running"))
    session.commit()
    run_pk = session.scalar(select(DagRun.id).where(DagRun.run_id == "run_4"))
    session.rollback()
    plan = plan_all()
    real, refused = clear_runs.clear, []

    def clear_while_it_runs(dag_id, dag_runs, *args, **kwargs):
        cleared = real(dag_id, dag_runs, *args, **kwargs)
        if run_pk in [run.id for run in dag_runs]:
            with settings.engine.begin() as worker:
                worker.execute(text("SET LOCAL lock_timeout = '200ms'"))
                change = update(TaskInstance).where(*running).values(state="success")
                with pytest.raises(OperationalError, match="lock timeout"):
                    worker.execute(change)
                worker.rollback()
            refused.append(run_pk)
        return cleared

    monkeypatch.setattr(clear_runs, "clear", clear_while_it_runs)
    assert clear_all(plan).status == "applied"
    assert refused == [run_pk]


def wait_until_blocked(number):
    """Wait until so many sessions wait for a lock of another's."""
    deadline = time.monotonic() + 60
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.scalar(WAITS) < number:
            assert time.monotonic() < deadline, "nobody waits for a lock"
            time.sleep(0.02)


def test_a_task_that_starts_before_the_lock_stops_the_clear(session, monkeypatch):
    """It holds its row when the clear comes for it: the clear waits, and then finds that it moved."""
    plan = step(plan_all())
    with settings.engine.begin() as worker, ThreadPoolExecutor(1) as pool:
        worker.execute(
            update(TaskInstance)
            .where(TaskInstance.run_id == "run_3", TaskInstance.task_id == "load")
            .values(state="queued")
        )
        outcome = pool.submit(step, plan)
        wait_until_blocked(1)
        worker.commit()
        plan = outcome.result(60)
    assert (plan.status, plan.stop_reason.kind, plan.cleared_runs) == ("stopped", "drift", 2)
    moved = [(row.run_id, row.task_id, row.now) for row in plan.stop_reason.moved]
    assert moved == [("run_3", "load", "queued, try 0")]
    numbers = clear_numbers(session)
    assert [numbers[run] for run in RUNS] == [1, 1] + [0] * 8


def test_a_task_that_starts_between_clear_and_undo_stays(session):
    """It holds its row when the undo comes for it: the undo waits, and leaves it."""
    before = but_for_updated_at(everything(session))
    plan = clear_all(plan_all())
    with settings.engine.begin() as scheduler, ThreadPoolExecutor(1) as pool:
        scheduler.execute(
            update(TaskInstance)
            .where(TaskInstance.run_id == "run_2", TaskInstance.task_id == "extract")
            .values(state="queued")
        )
        outcome = pool.submit(undo_all, plan)
        wait_until_blocked(1)
        scheduler.commit()
        plan = outcome.result(60)
    assert (plan.status, plan.put_back, plan.stayed) == ("undone", PER_RUN * len(RUNS) - 1, 1)
    changed = diff_snapshots(before, but_for_updated_at(everything(session)))
    assert set(changed) == {"task_instance", "task_instance_history", "task_reschedule", "dag_run"}
    [live] = changed["task_instance"]["added"]
    assert (live["run_id"], live["task_id"], live["state"]) == ("run_2", "extract", "queued")
    assert [row["run_id"] for row in changed["dag_run"]["added"]] == ["run_2"]


def test_a_stop_stops_the_clear_between_two_batches(session):
    before = but_for_updated_at(everything(session))
    chance = random.Random(3)
    for _ in range(ROUNDS):
        plan = plan_all()
        delay = chance.uniform(0, 0.6)

        def stop(plan=plan, delay=delay):
            time.sleep(delay)
            return stop_plan(plan, OTHER, now())

        at_once(lambda plan=plan: clear_all(plan), stop)
        after = fresh(plan, session)
        done = done_runs(plan, session)
        assert done == set(RUNS[: len(done)])
        assert (after.cleared_runs, after.cleared) == (len(done), PER_RUN * len(done))
        assert clear_numbers(session) == {run: int(run in done) for run in RUNS}
        assert audited(plan, "safe_clear", session) == keys(session, done)
        if len(done) < len(RUNS):
            assert (after.status, after.stop_reason.kind, after.stop_reason.by) == (
                "stopped",
                "stopped",
                "Somebody else",
            )
            assert fresh(plan, session) == after
            after = clear_all(after, OTHER, resume=True)
        assert after.status == "applied"
        check_cleared_once(plan, session)
        undo_all(fresh(plan, session))
        assert diff_snapshots(before, but_for_updated_at(everything(session))) == {}


def just_before(monkeypatch, module, name, work):
    """Have something happen, once, right before a function of the product is called."""
    real, done = getattr(module, name), []

    def interrupted(*args, **kwargs):
        if not done:
            done.append(True)
            work()
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)


def test_a_stop_right_before_the_next_batch_begins_stops_it(session, monkeypatch):
    """The request has read the plan already, and found that it is being applied."""
    plan = step(plan_all())
    just_before(monkeypatch, status, "begin_batch", lambda: stop_plan(plan, OTHER, now()))
    after = step(plan)
    assert (after.status, after.stop_reason.kind, after.cleared_runs) == ("stopped", "stopped", 2)
    assert sum(clear_numbers(session).values()) == 2


def test_a_stop_right_before_somebody_takes_over_is_not_overruled(session, monkeypatch):
    """The other one wanted to go on with a clear that was under way, not with one that was stopped."""
    plan = step(plan_all())
    just_before(monkeypatch, status, "resume", lambda: stop_plan(plan, ME, now()))
    with pytest.raises(Refused) as refused:
        step(plan, OTHER, resume=True)
    assert refused.value.problem.reason == f"Stopped by {ME.name}."
    after = fresh(plan, session)
    assert (after.status, after.cleared_runs, after.applied_by) == ("stopped", 2, ME.id)


def test_a_resume_right_before_an_undo_begins_keeps_it_from_beginning(session, monkeypatch):
    plan = stop_plan(step(plan_all()), ME, now())
    just_before(monkeypatch, undo_batches, "lock_plan", lambda: step(plan, OTHER, resume=True))
    with pytest.raises(Refused):
        undo_all(plan)
    after = fresh(plan, session)
    assert (after.status, after.cleared_runs, after.undo_asked_runs) == ("applying", 4, 0)


def test_an_undo_right_before_a_resume_goes_on_keeps_it_from_going_on(session, monkeypatch):
    plan = stop_plan(step(step(plan_all())), ME, now())
    just_before(monkeypatch, status, "resume", lambda: drive_once(undo_plan(plan, (), "", ME, now()).id))
    with pytest.raises(Refused):
        step(plan, OTHER, resume=True)
    after = fresh(plan, session)
    assert (after.status, after.cleared_runs, after.undone_runs) == ("stopped", 4, 2)


def test_undo_and_resume_exclude_each_other(session):
    """Whoever comes first goes through with it; no run is both undone and cleared by the plan."""
    before = but_for_updated_at(everything(session))
    chance = random.Random(4)
    outcomes = Counter()
    for _ in range(ROUNDS):
        plan = stop_plan(step(step(plan_all())), ME, now())
        head_start = chance.uniform(-0.1, 0.1)

        def undo(plan=plan, head_start=head_start):
            time.sleep(max(0, head_start))
            return undo_all(plan)

        def resume(plan=plan, head_start=head_start):
            time.sleep(max(0, -head_start))
            return clear_all(plan, OTHER, resume=True)

        at_once(undo, resume)
        after = fresh(plan, session)
        outcomes[after.status] += 1
        assert after.status in ("applied", "undone")
        if after.status == "applied":
            assert (after.cleared_runs, after.undo_asked_runs) == (len(RUNS), 0)
            after = undo_all(after)
        assert after.undone_runs == after.cleared_runs
        assert after.stayed == 0
        with pytest.raises(Refused):
            step(after, OTHER, resume=True)
        assert diff_snapshots(before, but_for_updated_at(everything(session))) == {}
    assert sum(outcomes.values()) == ROUNDS


@pytest.mark.parametrize("head_start", [0.0, 0.1, 0.3])
def test_undo_against_another_clear_of_the_same_runs(session, head_start):
    """Each run is undone, or cleared again by the other plan, never both."""
    first = clear_all(plan_all())
    second = plan_all(OTHER)

    def undo():
        time.sleep(head_start)
        return undo_all(first)

    at_once(undo, lambda: clear_all(second, OTHER))
    first, second = fresh(first, session), fresh(second, session)
    again = done_runs(second, session)
    assert clear_numbers(session) == {run: 2 * int(run in again) for run in RUNS}
    assert (first.status, first.undone_runs) == ("undone", len(RUNS))
    assert first.put_back == PER_RUN * (len(RUNS) - len(again))
    assert first.stayed == PER_RUN * len(again)
    assert second.status in ("applied", "stopped", "stale")
    assert audited(second, "safe_clear", session) == keys(session, again)
    assert audited(first, "safe_clear_undo", session) == keys(session, set(RUNS) - again)
    if again:
        assert undo_all(second).stayed == 0
        assert clear_numbers(session) == {run: int(run in again) for run in RUNS}
