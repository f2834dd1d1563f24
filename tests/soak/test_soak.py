"""Clears, stops, resumes and undos at random, under a scheduler that runs what they clear.

With ``--full``, some clears go in waves, and one operator works at a shell.

Takes SAFE_CLEAR_FIRE_SECONDS (20; 180 with ``--full``), and the time until every run has finished.
SAFE_CLEAR_FIRE_SEED chooses another course of events; with ``--full`` it is chosen at random.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace, RunOrder, Then, Waves
from safe_clear_plugin.services.clear.apply import apply_plan, stop_plan
from safe_clear_plugin.services.clear.waves import continue_plan
from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.clear import batches, before_images
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.cli.running import SafeClear
from tests.soak import ledger
from tests.support.factories import make_run
from tests.support.options import chosen

pytestmark = pytest.mark.skipif(not chosen.postgresql, reason="needs --backend postgresql")

SECONDS = float(os.environ.get("SAFE_CLEAR_FIRE_SECONDS") or (180 if chosen.full else 20))
SEED = int(os.environ.get("SAFE_CLEAR_FIRE_SEED") or (random.randrange(1_000_000) if chosen.full else 1))
DRIVERS = 2
OPERATORS = 3
RUNS = tuple(f"run_{number}" for number in range(1, 13))
PER_RUN = 5
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
LOST_TRANSACTION = ("40P01", "40001")
DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


UNFINISHED = """
    SELECT r.run_id, r.state, r.clear_number, r.last_scheduling_decision, t.task_id, t.map_index, t.state,
        t.try_number, t.id, t.updated_at, t.external_executor_id
    FROM dag_run r LEFT JOIN task_instance t ON (t.dag_id, t.run_id) = (r.dag_id, r.run_id)
    WHERE r.state NOT IN ('success', 'failed')
"""


def now():
    return datetime.now(timezone.utc)


class Fire:
    """Operators who clear and undo, and a watcher who looks at every run in one snapshot after another."""

    def __init__(self, at_shell=None):
        self.counts = Counter()
        self.over = threading.Event()
        self.at_shell = at_shell

    def burn(self, seconds):
        """Let everybody work for some time; the first error of any of them ends it and is raised."""
        deadline = time.monotonic() + seconds
        drivers_end = threading.Event()
        with ThreadPoolExecutor(OPERATORS + 2 + DRIVERS) as pool:
            drivers = [pool.submit(Driver().run, drivers_end) for _ in range(DRIVERS)]
            works = [pool.submit(self._work, self._watch)]
            for number in range(OPERATORS):
                operator = Operator(
                    self.counts, Actor(str(number), f"Operator {number}"), SEED * 100 + number
                )
                works.append(pool.submit(self._work, operator.act))
            if self.at_shell:
                works.append(pool.submit(self._work, OperatorAtShell(self.counts, self.at_shell, SEED).act))
            while time.monotonic() < deadline and not self.over.wait(0.2):
                pass
            self.over.set()
            try:
                for work in works:
                    work.result()
            finally:
                # Operators wait for what they have begun.
                drivers_end.set()
            for driver in drivers:
                driver.result()

    def _work(self, act):
        try:
            while not self.over.is_set():
                act()
        finally:
            self.over.set()

    def _watch(self):
        with settings.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            assert ledger.wrong(connection) == {}
        self.counts["snapshots"] += 1
        time.sleep(0.3)


class Operator:
    """Somebody who clears, hesitates, stops, resumes, takes back: at random, with a seed."""

    def __init__(self, counts, actor, seed):
        self.counts = counts
        self.actor = actor
        self.chance = random.Random(seed)

    def act(self):
        """Make a plan, apply it in part or whole, and perhaps take it back."""
        try:
            self._clear_and_undo(self._plan())
        except Refused as refused:
            if refused.status != 409:
                raise
            self.counts["refused"] += 1
        except Invalid:
            self.counts["nothing to clear"] += 1

    def _plan(self):
        chance = self.chance
        selection = Selection(
            "fire",
            run_id=tuple(chance.sample(RUNS, chance.randint(1, 8))),
            task_regex=chance.choice(["", "", "^first$", "^part$", "^wait$", "^last$", "t$"]),
            include_downstream=chance.random() < 0.5,
            running=chance.choice(["leave_out", "leave_out", "terminate"]),
        )
        plan = make_plan(selection, self.actor, now())
        self.counts["plans"] += 1
        return plan

    def _clear_and_undo(self, plan):
        plan = self._clear(plan)
        if plan.status == "stopped":
            plan = self._after_a_stop(plan)
        self._hesitate(1.5)
        if plan.cleared_runs and self.chance.random() < 0.8:
            self._undo(plan)

    def _clear(self, plan, **options):
        pace = self._pace()
        # Waves take long, as each waits for runs that the scheduler runs again.
        stops = 0.02 if pace.is_chosen else 0.1
        plan = apply_plan(plan, plan.fingerprint, "fire", self.actor, now(), pace=pace, **options)
        while plan.status == "applying":
            if plan.is_waiting_for_person:
                self.counts["waves gone on with"] += 1
                plan = continue_plan(plan, self.actor, now(), skip_failed=True)
            if self.chance.random() < stops:
                self.counts["stops"] += 1
                return stop_plan(plan, self.actor, now())
            time.sleep(0.1)
            plan = get_plan(plan.id)
        self.counts[f"clears {plan.status}"] += 1
        kind = plan.stop_reason.kind if plan.stop_reason else None
        assert kind not in (StopKind.MISMATCH, StopKind.ERROR), plan.stop_reason
        self.counts["busy"] += kind == StopKind.BUSY
        return plan

    def _pace(self):
        chance = self.chance
        if not chosen.full or chance.random() < 0.5:
            return ALL_AT_ONCE
        self.counts["in waves"] += 1
        first = chance.choice([None, 1, 2])
        then = chance.choice(tuple(Then)) if first else None
        return Pace(Waves(first, then, chance.choice([1, 2, 4]), order=chance.choice(tuple(RunOrder))), True)

    def _after_a_stop(self, plan):
        match self.chance.choice(["resume", "rest", "undo", "leave"]):
            case "resume":
                self.counts["resumes"] += 1
                return self._clear(plan, resume=True)
            case "rest":
                self.counts["rests"] += 1
                return self._clear(plan_remaining(plan, self.actor, now()))
            case "undo" if plan.cleared_runs:
                return self._undo(plan)
        return plan

    def _undo(self, plan):
        with settings.NonScopedSession() as session:
            runs = [run.run_id for run in plan_reader.runs(UUID(plan.id), session) if run.applied_at]
        chosen = (
            runs
            if self.chance.random() < 0.6
            else self.chance.sample(runs, self.chance.randint(1, len(runs)))
        )
        plan = undo_plan(plan, chosen, "fire", self.actor, now())
        while plan.is_undoing:
            time.sleep(0.1)
            plan = get_plan(plan.id)
        self.counts["undos"] += 1
        return plan

    def _hesitate(self, seconds):
        time.sleep(self.chance.choice([0, self.chance.uniform(0, seconds)]))


class OperatorAtShell:
    """Somebody who clears and undoes with ``safe-clear``, through the api-server and its driver."""

    EXPECTED = (ExitCode.DONE, ExitCode.REFUSED, ExitCode.WAITS, ExitCode.FAILED)

    def __init__(self, counts, safe_clear, seed):
        self.counts = counts
        self.safe_clear = safe_clear
        self.chance = random.Random(seed)

    def act(self):
        """Clear some runs, and perhaps undo that."""
        chosen_runs = self.chance.sample(RUNS, self.chance.randint(1, 4))
        named = [word for run_id in chosen_runs for word in ("--run-id", run_id)]
        done = self._run("clear", "fire", *named, "--yes", "--reason", "fire", "--json")
        if done.code == ExitCode.DONE and (id_ := done.json.get("id")) and self.chance.random() < 0.7:
            self._run("undo", id_, "--yes", "--reason", "fire", "--json")

    def _run(self, command, *arguments):
        done = self.safe_clear(command, *arguments)
        self.counts[f"safe-clear {command}: {done.code}"] += 1
        assert done.code in self.EXPECTED, done
        return done


@pytest.fixture
def at_shell(airflow_server, tmp_path):
    """Return the command line of the admin, with ``--full`` only."""
    if not chosen.full:
        return None
    return SafeClear(
        tmp_path, SAFE_CLEAR_SERVER=airflow_server.url, SAFE_CLEAR_TOKEN=airflow_server.token("admin")
    )


@pytest.fixture
def lost_transactions():
    """Count what our own sessions lost to a deadlock or a serialization failure, and so tried again."""
    lost = []

    def on_error(context):
        error = context.original_exception
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if isinstance(context.sqlalchemy_exception, OperationalError) and code in LOST_TRANSACTION:
            lost.append(code)

    event.listen(settings.engine, "handle_error", on_error)
    yield lost
    event.remove(settings.engine, "handle_error", on_error)


@pytest.fixture
def each_batch_is_compared(monkeypatch):
    """Compare every task instance of a batch with the plan, before it commits, with SQL of the test's own."""
    ids_before = {}
    capture, record = before_images.capture, batches.record_batch
    compared = Counter()

    def locked(plan_id, dag_id, run_ids, related, session):
        ids = select(TaskInstance.id).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id.in_(run_ids))
        ids_before[plan_id] = (list(run_ids), [str(id_) for id_ in session.scalars(ids)])
        capture(plan_id, dag_id, run_ids, related, session)

    def about_to_commit(plan_id, number, kind, *, session, **options):
        record(plan_id, number, kind, session=session, **options)
        compared[kind] += 1
        compared[f"{kind}: task instances"] += options["task_instances"]
        if kind == "clear":
            run_ids, ids = ids_before.pop(plan_id)
            given = {"plan_id": plan_id.hex, "run_ids": run_ids, "ids_before": ids}
            assert session.execute(text(ledger.OF_A_BATCH), given).all() == []

    monkeypatch.setattr(before_images, "capture", locked)
    monkeypatch.setattr(batches, "record_batch", about_to_commit)
    return compared


@pytest.fixture
def past(dags_in_database):
    """Runs that all succeeded. Returns the ids of their task instances, none of which may ever run."""
    with settings.NonScopedSession() as session:
        for number, run_id in enumerate(RUNS):
            date = START + timedelta(days=number)
            make_run("fire", session=session, run_id=run_id, logical_date=date, task_state="success")
        return {
            str(id_) for id_ in session.scalars(select(TaskInstance.id).where(TaskInstance.dag_id == "fire"))
        }


def keys(session):
    ti = TaskInstance
    rows = session.execute(select(ti.run_id, ti.task_id, ti.map_index).where(ti.dag_id == "fire"))
    return sorted(tuple(row) for row in rows)


def told():
    """Return what the task instances wrote: id and what it did."""
    lines = Path(os.environ["SAFE_CLEAR_FIRE_LINES"])
    written = lines.read_text().splitlines() if lines.exists() else []
    return [tuple(json.loads(line)[:2]) for line in written]


def unfinished(connection):
    """Return the unfinished dag runs, each with its unfinished task instances."""
    rows = connection.execute(text(UNFINISHED)).all()
    return [tuple(row) for row in rows]


def finished():
    with settings.engine.connect() as connection:
        runs = select(func.count()).where(DagRun.dag_id == "fire", DagRun.state.not_in(("success", "failed")))
        return not connection.scalar(runs)


def test_under_fire(
    past, airflow_server, at_shell, each_batch_is_compared, lost_transactions, monkeypatch, capsys
):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", str(PER_RUN))
    with settings.NonScopedSession() as session:
        keys_before = keys(session)
    fire = Fire(at_shell)
    begun = time.monotonic()
    try:
        fire.burn(SECONDS)
        airflow_server.wait_until(finished, "all runs have finished", 300 + SECONDS)
    finally:
        with settings.engine.connect() as connection, capsys.disabled():
            tasks = sum(what == "ran" for _, what in told())
            print(f"\nFire of {SECONDS:.0f} s, seed {SEED}, out after {time.monotonic() - begun:.0f} s:")
            print(f"  {dict(fire.counts)}")
            print(f"  batches and task instances {dict(each_batch_is_compared)}, tasks that ran {tasks}")
            print(f"  not finished {unfinished(connection)}")
            print(f"  lost {lost_transactions}, deadlocks {connection.scalar(DEADLOCKS)}")

    with settings.engine.connect() as connection:
        assert ledger.wrong(connection) == {}
        assert ledger.orphans(connection) == {}
    with settings.NonScopedSession() as session:
        check_the_end(session, past, keys_before)
    assert fire.counts["busy"] == 0
    assert each_batch_is_compared["clear"] > 5
    assert each_batch_is_compared["undo: task instances"] > 5


def check_the_end(session, past, keys_before):
    """Nothing is lost, nothing ran twice for one clear, and nothing ran that had been put back before."""
    ti, history, planned = TaskInstance, TaskInstanceHistory, plan_task_instance
    assert keys(session) == keys_before
    states = select(ti.state, func.count()).where(ti.dag_id == "fire").group_by(ti.state)
    assert [tuple(row) for row in session.execute(states)] == [("success", len(keys_before))]
    assert set(session.scalars(select(DagRun.state).where(DagRun.dag_id == "fire"))) == {"success"}
    ran = Counter(id_ for id_, what in told() if what == "ran")
    assert {id_: times for id_, times in ran.items() if times > 1} == {}
    taken_back = set(
        map(str, session.scalars(select(planned.c.new_task_instance_id).where(planned.c.undo == "put_back")))
    )
    assert {id_ for id_, _ in told()} & (taken_back | past) == set()
    now_there = set(map(str, session.scalars(select(ti.id).where(ti.dag_id == "fire"))))
    known = now_there | set(map(str, session.scalars(select(history.task_instance_id))))
    assert set(ran) <= known
    # What succeeds now either was never cleared for good, or has run for its last clear.
    assert now_there - past <= set(ran)
