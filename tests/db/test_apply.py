"""Applying a plan on a real metadata DB: all as shown, or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from uuid import UUID, uuid4

import pytest
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.utils.db import DBLocks
from sqlalchemy import delete, func, insert, inspect, select, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.clear import clear_runs, locks
from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.airflow_tables import engine as settings_engine
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear import clear_batch
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.driver import steps
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.storage.clear import batches as clear_batches
from safe_clear_plugin.storage.clear import drift, verification
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import metadata, plan_run
from tests.db.acting import undo
from tests.support.driving import drive, drive_once, set_clock_forward
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.later_airflow import later_patch
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]

ME = Actor("1", "Me")
OTHER = Actor("2", "Somebody else")
OWN = {table.name for table in metadata.sorted_tables}


def now():
    return datetime.now(timezone.utc)


def days(first, last, **more):
    more = {"date_from": START.replace(day=first), "date_to": START.replace(day=last), **more}
    return Selection("etl", **more)


def plan_of(selection):
    return make_plan(selection, ME, now())


def step(plan, actor=ME, **options):
    """Clear one batch. What comes back is the plan as it is in the database."""
    after = apply_plan(plan, plan.fingerprint, "because", actor, now(), **options)
    assert after == get_plan(plan.id)
    return drive_once(plan.id)


def confirm(plan, actor=ME):
    """Have it cleared, batch after batch."""
    step(plan, actor)
    return drive(plan.id)


@pytest.fixture
def dag(session):
    return store_etl(session, runs=4)


@pytest.fixture
def one_run_a_batch(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")


@pytest.fixture
def after_clearing(monkeypatch):
    """Let something else happen within the transaction, once Airflow's function has done its work."""
    real = clear_runs.clear_task_instances

    def happens(meddle):
        def meddling(tis, session, **options):
            real(tis, session, **options)
            session.flush()
            meddle(session)

        monkeypatch.setattr(clear_runs, "clear_task_instances", meddling)

    return happens


def states(session):
    session.rollback()
    rows = session.execute(
        select(TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state).order_by(
            TaskInstance.run_id, TaskInstance.task_id
        )
    )
    return {(row.run_id, row.task_id): row.state for row in rows}


def test_a_preview_writes_only_its_own_tables(dag, session):
    before = snapshot(session)
    plan = plan_of(days(1, 2, task_regex="^trans", include_downstream=True))
    assert (plan.task_instances, plan.dag_runs) == (4, 2)
    assert set(diff_snapshots(before, snapshot(session))) <= OWN


@pytest.mark.usefixtures("speedups")
def test_exactly_what_was_shown_is_cleared(dag, session):
    before = snapshot(session)
    plan = plan_of(days(2, 3, task_regex="^trans", include_downstream=True))
    after = confirm(plan)
    assert (after.status, after.stop_reason) == ("applied", None)
    changed = diff_snapshots(before, snapshot(session))
    assert set(changed) <= OWN | {"task_instance", "task_instance_history", "dag_run", "log"}
    keys = {(run, task) for run in ("run_2", "run_3") for task in ("transform", "load")}
    assert {(row["run_id"], row["task_id"]) for row in changed["task_instance"]["removed"]} == keys
    assert {(row["run_id"], row["task_id"]) for row in changed["task_instance"]["added"]} == keys
    assert {row["run_id"] for row in changed["dag_run"]["added"]} == {"run_2", "run_3"}
    history = changed["task_instance_history"]
    assert history["removed"] == []
    assert {(row["run_id"], row["task_id"]) for row in history["added"]} == keys


def test_every_cleared_task_instance_is_in_the_audit_log(dag, session):
    plan = plan_of(days(1, 1))
    confirm(plan)
    rows = session.scalars(select(Log).where(Log.event == "safe_clear")).all()
    assert {(row.run_id, row.task_id, row.owner, row.owner_display_name) for row in rows} == {
        ("run_1", task, "Me", "Me") for task in ("extract", "transform", "load")
    }
    assert all(plan.id in row.extra and "because" in row.extra for row in rows)


@pytest.mark.usefixtures("speedups")
def test_runs_are_cleared_in_batches_of_whole_runs(dag, session, one_run_a_batch, monkeypatch):
    batches = []
    real = clear_batch._clear_batch

    def counted(plan, batch, *rest, **more):
        batches.append(batch.run_ids)
        real(plan, batch, *rest, **more)

    monkeypatch.setattr(clear_batch, "_clear_batch", counted)
    assert confirm(plan_of(days(1, 4))).status == "applied"
    assert batches == [["run_1"], ["run_2"], ["run_3"], ["run_4"]]
    recorded = session.execute(select(plan_run.c.run_id, plan_run.c.batch, plan_run.c.applied_at)).all()
    assert {run_id: batch for run_id, batch, _ in recorded} == {f"run_{n}": n for n in range(1, 5)}
    assert all(at is not None for _, _, at in recorded)
    assert set(states(session).values()) == {None}


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        (1, [[5], [1], [1], [9]]),
        (2, [[5], [1, 1], [9]]),
        (5, [[5], [1, 1], [9]]),
        (6, [[5, 1], [1], [9]]),
        (7, [[5, 1, 1], [9]]),
        (15, [[5, 1, 1], [9]]),
        (16, [[5, 1, 1, 9]]),
        (1000, [[5, 1, 1, 9]]),
    ],
)
def test_a_batch_holds_as_many_whole_runs_as_fit(dag, session, size, batches):
    plan_id = UUID(plan_of(days(1, 4)).id)
    for run_id, task_instances_ in zip(["run_1", "run_2", "run_3", "run_4"], [5, 1, 1, 9], strict=True):
        of_run = (plan_run.c.plan_id == plan_id, plan_run.c.run_id == run_id)
        session.execute(update(plan_run).where(*of_run).values(task_instances=task_instances_))
    found, last = [], False
    while not last:
        batch = clear_batches.next_batch(plan_id, 1, size, session)
        found.append([run.task_instances for run in batch.runs])
        clear_batches.finish_batch(plan_id, batch, now(), session)
        of_batch = (plan_run.c.plan_id == plan_id, plan_run.c.run_id.in_(batch.run_ids))
        session.execute(update(plan_run).where(*of_batch).values(applied_at=now()))
        last = batch.last
    assert found == batches
    assert plan_reader.get(plan_id, session).status == "applied"
    assert clear_batches.next_batch(plan_id, 1, size, session).runs == ()


def test_a_move_half_way_stops_there(dag, session, one_run_a_batch):
    plan = step(plan_of(days(1, 3)))
    assert (plan.status, plan.cleared_runs) == ("applying", 1)
    recorded = session.execute(select(plan_run.c.run_id, plan_run.c.batch).order_by(plan_run.c.run_id)).all()
    assert [tuple(row) for row in recorded] == [("run_1", 1), ("run_2", None), ("run_3", None)]
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == "run_2", TaskInstance.task_id == "load")
        .values(state="success")
    )
    session.commit()
    after = step(plan)
    assert after.status == "stopped"
    assert after.stop_reason.kind == "drift"
    assert [(row.run_id, row.task_id) for row in after.stop_reason.moved] == [("run_2", "load")]
    found = states(session)
    assert {found["run_1", task] for task in ("extract", "transform", "load")} == {None}
    assert found["run_2", "load"] == "success"
    assert found["run_2", "transform"] == "failed"
    assert found["run_3", "transform"] == "failed"


def test_a_result_that_is_not_the_plan_is_rolled_back(dag, session, after_clearing):
    plan = plan_of(days(1, 1, task_regex="^load$"))
    after_clearing(changes("extract", state="skipped"))
    before = snapshot(session)
    after = confirm(plan)
    assert after.status == "stopped"
    assert list(after.stop_reason.mismatches) == [
        "extract in run_1: state was to become success, but became skipped"
    ]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("max_tries", 99, "load in run_1: max_tries was to become 0, but became 99"),
        ("try_number", 7, "load in run_1: try_number was to become 0, but became 7"),
        ("state", "queued", "load in run_1: state was to become None, but became queued"),
    ],
)
def test_each_promised_column_is_verified(dag, session, monkeypatch, column, value, said):
    plan = plan_of(days(1, 1, task_regex="^load$"))
    real = clear_runs.clear_task_instances

    def otherwise(tis, session, **options):
        real(tis, session, **options)
        setattr(tis[0], column, value)

    monkeypatch.setattr(clear_runs, "clear_task_instances", otherwise)
    before = snapshot(session)
    assert said in confirm(plan).stop_reason.mismatches
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def of_run(task, run_id="run_1"):
    return (TaskInstance.run_id == run_id, TaskInstance.task_id == task)


def takes_back_the_id(session):
    old = session.scalar(
        select(TaskInstanceHistory.task_instance_id).where(
            TaskInstanceHistory.run_id == "run_1", TaskInstanceHistory.task_id == "load"
        )
    )
    session.execute(update(TaskInstance).where(*of_run("load")).values(id=old))


def loses_the_version(session):
    session.execute(update(TaskInstance).where(*of_run("load")).values(dag_version_id=None))


def deletes(task):
    def meddle(session):
        session.execute(delete(TaskInstance).where(*of_run(task)))

    return meddle


def changes(task, **values):
    def meddle(session):
        session.execute(update(TaskInstance).where(*of_run(task)).values(**values))

    return meddle


def creates(session):
    one = session.scalars(select(TaskInstance).where(*of_run("load", "run_2"))).one()
    row = {column.name: getattr(one, column.key) for column in inspect(TaskInstance).columns}
    row |= {"id": uuid4(), "task_id": "new", "run_id": "run_1"}
    session.execute(insert(TaskInstance.__table__).values({k: v for k, v in row.items() if v is not None}))


def swaps_with_another(session):
    """As many rows as before, of which one is not the right one."""
    deletes("load")(session)
    creates(session)


@pytest.mark.parametrize(
    ("tasks", "meddle", "said"),
    [
        ("", takes_back_the_id, ["load in run_1: id was to become a new one, but became "]),
        ("", loses_the_version, ["load in run_1: dag_version_id was to become "]),
        ("", deletes("load"), ["load in run_1: row was to become there, but became missing"]),
        ("", creates, ["new in run_1: row was to become absent, but became created"]),
        (
            "",
            swaps_with_another,
            [
                "load in run_1: row was to become there, but became missing",
                "new in run_1: row was to become absent, but became created",
            ],
        ),
        ("^load$", creates, ["new in run_1: row was to become absent, but became created"]),
        ("^load$", deletes("extract"), ["extract in run_1: row was to become there, but became missing"]),
        ("^load$", changes("extract", try_number=5), ["extract in run_1: try_number was to become 1, but "]),
        ("^load$", changes("extract", max_tries=5), ["extract in run_1: max_tries was to become 2, but "]),
        ("^load$", changes("load", try_number=5), ["load in run_1: try_number was to become "]),
    ],
)
def test_whatever_else_a_clear_does_is_noticed(dag, session, after_clearing, tasks, meddle, said):
    """In a run that is cleared whole, and in one of which a task is; beside a run where all is right."""
    plan = plan_of(days(1, 2, task_regex=tasks))
    after_clearing(meddle)
    before = snapshot(session)
    after = confirm(plan)
    assert (after.status, after.stop_reason.kind, after.stop_reason.total) == (
        "stopped",
        "mismatch",
        len(said),
    )
    for found, start in zip(after.stop_reason.mismatches, said, strict=True):
        assert found.startswith(start)
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


@pytest.fixture
def moving(dag, session):
    """The plan of a run that moves: ``publish`` is new, ``load`` gone; ``extract`` is cleared."""
    with DAG("etl", schedule=None, start_date=START) as latest:
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="transform")
        EmptyOperator(task_id="publish")
    store_dag(latest, session=session)
    session.expire_all()
    return plan_of(days(1, 1, task_regex="^extract$", run_on_latest_version=True))


def test_what_stays_in_a_run_that_moves_is_no_surprise(moving, session):
    before = states(session)
    after = confirm(moving)
    assert (after.status, after.stop_reason) == ("applied", None)
    found = {task: state for (run, task), state in states(session).items() if run == "run_1"}
    assert before["run_1", "transform"] is not None
    assert found == {
        "extract": None,
        "load": "removed",
        "publish": None,
        "transform": before["run_1", "transform"],
    }


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        (changes("publish", state="queued"), "publish in run_1: state was to become None, but became queued"),
        (deletes("publish"), "publish in run_1: row was to become there, but became missing"),
        (changes("load", state="failed"), "load in run_1: state was to become removed, but became failed"),
        (changes("transform", state="queued"), "transform in run_1: state was to become failed, but became "),
        (creates, "new in run_1: row was to become absent, but became created"),
    ],
)
def test_whatever_else_a_move_does_is_noticed(moving, session, after_clearing, meddle, said):
    after_clearing(meddle)
    before = snapshot(session)
    [found] = confirm(moving).stop_reason.mismatches
    assert found.startswith(said)
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


@pytest.mark.parametrize(
    ("step_", "said"),
    [
        ("record_new_ids", "task instances as planned was to become 3, but became 2"),
        ("record_cleared_runs", "dag runs as planned was to become 1, but became 0"),
    ],
)
def test_what_is_not_told_row_by_row_is_not_believed_either(dag, session, monkeypatch, step_, said):
    plan = plan_of(days(1, 1))
    real = getattr(verification, step_)
    monkeypatch.setattr(verification, step_, lambda *given, **options: real(*given, **options) - 1)
    before = snapshot(session)
    found = list(confirm(plan).stop_reason.mismatches)
    assert found == [f"the batch: {said}"]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


@pytest.mark.parametrize("tasks", ["", "^load$"])
@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("state", {"state": "running"}),
        ("clear_number", {"clear_number": 5}),
        ("dag_version_id", {"created_dag_version_id": None}),
        ("bundle_version", {"bundle_version": "b7"}),
    ],
)
def test_each_promised_column_of_the_run_is_verified(dag, session, after_clearing, tasks, said, values):
    plan = plan_of(days(1, 2, task_regex=tasks))
    of_run_1 = DagRun.run_id == "run_1"
    after_clearing(lambda session: session.execute(update(DagRun).where(of_run_1).values(**values)))
    before = snapshot(session)
    [found] = confirm(plan).stop_reason.mismatches
    assert found.startswith(f"dag run run_1: {said} was to become")
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_run_that_is_gone_is_noticed(dag, session, after_clearing):
    plan = plan_of(days(1, 1))
    after_clearing(lambda session: session.execute(delete(DagRun).where(DagRun.run_id == "run_1")))
    before = snapshot(session)
    found = list(confirm(plan).stop_reason.mismatches)
    assert "dag run run_1: row was to become there, but became missing" in found
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_run_that_another_took_the_place_of_is_noticed(dag, session, after_clearing):
    plan = plan_of(days(1, 1))
    of_run_1 = DagRun.run_id == "run_1"
    after_clearing(lambda session: session.execute(update(DagRun).where(of_run_1).values(id=4711)))
    before = snapshot(session)
    found = list(confirm(plan).stop_reason.mismatches)
    assert found == ["dag run run_1: row was to become there, but became missing"]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_locked_database_is_tried_again(dag, session, monkeypatch):
    plan = plan_of(days(1, 1))
    real, failures = locks.load_dag_runs, [1, 2]

    def locked(*args):
        if failures:
            failures.pop()
            raise OperationalError("select", {}, Exception("database is locked"))
        return real(*args)

    monkeypatch.setattr(locks, "load_dag_runs", locked)
    assert confirm(plan).status == "applied"
    assert failures == []


def test_a_database_that_stays_locked_stops_the_plan(dag, session, one_run_a_batch, monkeypatch):
    plan = step(plan_of(days(1, 2)))
    tries = []

    def locked(*args):
        tries.append(args)
        raise OperationalError("select", {}, Exception("database is locked"))

    monkeypatch.setattr(locks, "load_dag_runs", locked)
    before = snapshot(session)
    plan = step(plan)
    assert (plan.status, plan.stop_reason.kind, plan.cleared_runs, len(tries)) == ("stopped", "busy", 1, 3)
    assert plan.stop_reason.code == "database_busy"
    assert set(diff_snapshots(before, snapshot(session))) == {"safe_clear_plan"}
    monkeypatch.undo()
    assert step(plan, resume=True).status == "applied"


def test_an_error_leaves_runs_whole_and_the_plan_stopped(dag, session, one_run_a_batch, monkeypatch):
    plan = plan_of(days(1, 3))
    real, calls = clear_runs.clear_task_instances, []

    def breaking(tis, session, **options):
        real(tis, session, **options)
        calls.append(tis[0].run_id)
        if len(calls) == 2:
            raise RuntimeError("the plug was pulled")

    monkeypatch.setattr(clear_runs, "clear_task_instances", breaking)
    assert confirm(plan).status == "stopped"
    found = states(session)
    assert found["run_1", "transform"] is None
    assert found["run_2", "transform"] == "failed"
    assert found["run_3", "transform"] == "failed"

    from safe_clear_plugin.storage.plans import plan_reader

    stopped = plan_reader.get(UUID(plan.id), session)
    assert (stopped.status, stopped.stop_reason.kind) == ("stopped", "error")
    assert (stopped.cleared, stopped.cleared_runs) == (3, 1)


def test_a_clear_whose_process_died_is_found_out(dag, session, monkeypatch):
    plan = plan_of(days(1, 1))

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(clear_runs, "clear_task_instances", killed)
    before = snapshot(session)
    with pytest.raises(Killed):
        confirm(plan)
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}

    from safe_clear_plugin.storage.plans import plan_reader

    session.rollback()
    dead = plan_reader.get(UUID(plan.id), session)
    assert (dead.status, dead.cleared) == ("applying", 0)
    assert not dead.is_interrupted
    set_clock_forward(session, dead, 61)
    assert plan_reader.get(UUID(plan.id), session).is_interrupted
    with pytest.raises(Refused) as refused:
        step(dead, OTHER)
    assert (refused.value.status, refused.value.problem.reason) == (409, "Me is applying the plan.")
    monkeypatch.undo()
    assert step(dead, OTHER, resume=True).status == "applied"


def test_whoever_resumes_a_plan_applies_it_from_then_on(dag, session, one_run_a_batch):
    """So that a request of theirs whose answer was lost may be sent again."""
    plan = step(plan_of(days(1, 2)))
    plan = step(plan, OTHER, resume=True)
    assert (plan.status, plan.applied_by_name) == ("applied", "Somebody else")
    assert step(plan, OTHER).status == "applied"
    with pytest.raises(Refused) as refused:
        step(plan, ME)
    assert refused.value.problem.reason == "Somebody else has already applied the plan."


def test_a_plan_is_not_resumed_across_an_upgrade_of_airflow(dag, session, one_run_a_batch, monkeypatch):
    plan = step(plan_of(days(1, 2)))
    later = later_patch(config.AIRFLOW_VERSION)
    monkeypatch.setattr(config, "AIRFLOW_VERSION", later)
    with pytest.raises(Refused) as refused:
        step(plan, resume=True)
    assert (refused.value.status, later in refused.value.problem.reason) == (409, True)


def test_no_scheduler_queues_what_is_scheduled_while_it_is_cleared(dag, session, backend, monkeypatch):
    """It chooses scheduled rows before it locks them, and would run one that has been cleared in between."""
    if backend.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "scheduled"}, session=session)
    plans = {"scheduled": plan_of(days(9, 9)), "none": plan_of(days(1, 1))}
    free = {}
    real = clear_runs.clear

    def looked(*args, **options):
        with settings_engine().connect() as other:
            lock = DBLocks.SCHEDULER_CRITICAL_SECTION.value
            free[name] = other.scalar(select(func.pg_try_advisory_xact_lock(lock)))
        return real(*args, **options)

    monkeypatch.setattr(clear_runs, "clear", looked)
    for name, plan in plans.items():  # noqa: B007 (`looked` reads the name)
        assert confirm(plan).status == "applied"
    assert free == {"scheduled": False, "none": True}


def test_of_many_who_confirm_one_wins(dag, session, backend):
    plan = plan_of(days(1, 4))

    def attempt(number):
        try:
            return confirm(plan, Actor(str(number), f"User {number}")).status
        except Refused as refused:
            return refused.status

    callers = 8 if backend.name == "postgresql" else 4
    with ThreadPoolExecutor(callers) as pool:
        outcomes = list(pool.map(attempt, range(callers)))
    assert sorted(map(str, outcomes)) == ["409"] * (callers - 1) + ["applied"]
    session.rollback()
    assert set(session.scalars(select(DagRun.clear_number))) == {1}


def test_of_two_plans_over_the_same_runs_one_wins(dag, session):
    mine, theirs = plan_of(days(1, 3)), make_plan(days(3, 4), OTHER, now())
    assert confirm(theirs, OTHER).status == "applied"
    before = snapshot(session)
    with pytest.raises(Refused) as refused:
        confirm(mine)
    assert refused.value.status == 409
    moved = {(row["what"], row["run_id"]) for row in refused.value.details["drift"]}
    assert moved == {("dag_run", "run_3"), ("task_instance", "run_3")}
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_run_deleted_or_cleared_since_makes_the_plan_stale(dag, session):
    plan = plan_of(days(1, 2))
    session.delete(session.scalars(select(DagRun).where(DagRun.run_id == "run_1")).one())
    session.commit()
    with pytest.raises(Refused) as refused:
        confirm(plan)
    assert {(row["run_id"], row["now"]) for row in refused.value.details["drift"]} == {("run_1", "gone")}


def test_what_is_left_out_may_go_on(dag, session):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "running", "transform": None, "load": None}, session=session)
    plan = plan_of(days(9, 9))
    assert plan.task_instances == 2
    set_states(run, {"extract": "success"}, session=session)
    assert confirm(plan).status == "applied"
    assert states(session)["live", "extract"] == "success"


def test_what_is_to_be_cleared_and_starts_is_not_cleared(dag, session):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "queued", "load": None}, session=session)
    plan = plan_of(days(9, 9))
    set_states(run, {"transform": "running"}, session=session)
    before = snapshot(session)
    with pytest.raises(Refused):
        confirm(plan)
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_everything_running_leaves_nothing_to_clear(dag, session):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "running"}, session=session)
    before = snapshot(session)
    with pytest.raises(Invalid) as invalid:
        plan_of(days(9, 9, task_regex="^extract$"))
    assert invalid.value.problems[0].field == "running"
    assert diff_snapshots(before, snapshot(session)) == {}


def test_runs_without_a_logical_date(dag, session):
    run = make_run(
        dag,
        session=session,
        run_id="undated",
        logical_date=None,
        run_after=START.replace(day=2, hour=5),
        state="failed",
    )
    set_states(run, {"transform": "failed"}, session=session)

    def runs(**more):
        return plan_of(days(1, 3, task_regex="^transform$", **more)).dag_runs

    assert runs() == 3
    assert runs(date_field="run_after") == 4
    assert plan_of(Selection("etl", run_id=("undated",))).dag_runs == 1
    with pytest.raises(Invalid) as invalid:
        plan_of(Selection("etl", run_id=("undated",), include_past=True))
    assert invalid.value.problems[0].field == "date_field"
    assert (
        plan_of(Selection("etl", run_id=("undated",), include_past=True, date_field="run_after")).dag_runs
        == 3
    )
    applied = confirm(plan_of(Selection("etl", run_id=("undated",))))
    assert applied.status == "applied"
    assert {ti.state for ti in task_instances(run, session=session)} == {None}


def test_a_commit_whose_answer_is_lost_is_no_drift(dag, session, one_run_a_batch, monkeypatch):
    plan = plan_of(days(1, 3))
    real, lost = steps.clear_next_batch, []

    def answer_lost(plan, *rest):
        real(plan, *rest)
        if len(lost) < 2:
            lost.append(plan.cleared)
            raise OperationalError("commit", {}, Exception("server closed the connection"))

    monkeypatch.setattr(steps, "clear_next_batch", answer_lost)
    assert confirm(plan).status == "applied"
    assert len(lost) == 2
    session.rollback()
    assert sorted(session.scalars(select(DagRun.clear_number))) == [0, 1, 1, 1]


def test_the_last_runs_and_the_end_of_the_plan_are_one_transaction(dag, session, monkeypatch):
    """Whatever dies right after the last commit, the plan is known to be done."""

    from safe_clear_plugin.storage.plans import plan_reader

    plan = plan_of(days(1, 3))
    real = steps.clear_next_batch

    def dies_right_after(*args):
        real(*args)
        raise ZeroDivisionError

    monkeypatch.setattr(steps, "clear_next_batch", dies_right_after)
    confirm(plan)
    done = plan_reader.get(UUID(plan.id), session)
    assert done.status == "applied"
    assert done.finished_at is not None


def test_another_bundle_version_makes_a_moving_plan_stale(session):
    dag = store_etl(session, runs=1)
    session.execute(update(DagModel).values(bundle_version="c1"))
    session.commit()
    del dag
    plan = plan_of(days(1, 1, run_on_latest_version=True))
    session.execute(update(DagModel).values(bundle_version="c2"))
    session.commit()
    before = snapshot(session)
    with pytest.raises(Refused) as refused:
        confirm(plan)
    assert [(row["before"], row["now"]) for row in refused.value.details["drift"]] == [
        ("bundle c1", "bundle c2")
    ]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_task_to_exclude_that_there_is_not_is_refused(dag, session):
    with pytest.raises(Invalid) as invalid:
        plan_of(days(1, 1, exclude_task_id=("lod", "load")))
    [problem] = invalid.value.problems
    assert problem.field == "exclude_task_id"
    assert "no task lod to exclude" in problem.reason
    assert "extract, transform, load" in problem.remedy
    assert plan_of(days(1, 1, exclude_task_id=("load",))).task_instances == 2


def test_the_first_and_last_run_are_those_by_date(dag, session):
    from datetime import date

    from safe_clear_plugin.storage.plans import plan_reader

    run = make_run(
        dag,
        session=session,
        run_id="by_hand",
        logical_date=START.replace(day=2, hour=7),
        run_after=START.replace(day=20),
        state="failed",
    )
    set_states(run, {"transform": "failed"}, session=session)
    plan = plan_of(Selection("etl", run_id=("run_3", "by_hand", "run_4")))
    first, last = plan_reader.first_and_last_run(UUID(plan.id), session)
    assert (first.run_id, last.run_id) == ("by_hand", "run_4")
    days_of_january = [date(2026, 1, day) for day in range(1, 21)]
    assert plan_reader.days_with_runs(UUID(plan.id), days_of_january, session) == {
        date(2026, 1, d) for d in (2, 3, 4)
    }


def test_a_dag_that_is_stale_is_found(dag, session):
    from airflow.models.dag import DagModel

    before = {finding.code for finding in plan_of(days(1, 1)).findings}
    session.execute(update(DagModel).values(is_stale=True))
    session.commit()
    after = {finding.code for finding in plan_of(days(1, 1)).findings}
    assert (after - before, before - after) == ({"dag_stale"}, set())


@pytest.mark.parametrize(
    ("model", "values", "how"),
    [
        (TaskInstance, {"id": UUID(int=7)}, "cleared or retried since"),
        (TaskInstance, {"try_number": 5}, "its state changed"),
        (TaskInstance, {"dag_version_id": None}, "it moved to another Dag version"),
        (DagRun, {"_state": "success"}, "its state changed"),
        (DagRun, {"clear_number": 1}, "cleared since"),
    ],
)
def test_each_part_of_what_was_shown_counts(dag, session, model, values, how):
    plan = plan_of(days(1, 2, task_regex="^load$"))
    where = [model.run_id == "run_2"] + ([model.task_id == "load"] if model is TaskInstance else [])
    session.execute(update(model).where(*where).values(**values))
    session.commit()
    before = snapshot(session)
    with pytest.raises(Refused) as refused:
        confirm(plan)
    assert [(row["run_id"], row["how"]) for row in refused.value.details["drift"]] == [("run_2", how)]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_dag_that_is_gone_counts(dag, session):
    plan = plan_of(days(1, 2))
    session.execute(update(TaskInstance).values(dag_version_id=None))
    session.execute(update(DagRun).values(created_dag_version_id=None))
    session.execute(delete(SerializedDagModel))
    session.execute(delete(DagVersion))
    session.commit()
    with pytest.raises(Refused) as refused:
        confirm(plan)
    [moved] = refused.value.details["drift"]
    how = ("serialized", "none", "the Dag no longer has a serialized version")
    assert (moved["before"], moved["now"], moved["how"]) == how


def test_a_version_with_another_hash_and_the_same_tasks_has_not_changed(dag, session):
    plan = plan_of(days(1, 2))
    session.execute(update(SerializedDagModel).values(dag_hash="another"))
    session.commit()
    assert confirm(plan).status == "applied"


def test_a_new_version_counts_for_the_runs_that_would_use_it(dag, session):
    plan = plan_of(days(1, 2))
    store_etl(session, runs=0, max_active_runs=1)
    with pytest.raises(Refused) as refused:
        confirm(plan)
    said = [(row["before"], row["now"], row["how"]) for row in refused.value.details["drift"]]
    assert said == [
        ("version 1", "version 2", "etl changed; 2 of the runs would use the new version"),
        ("16", "1", "max_active_runs of the Dag changed"),
    ]


def test_a_version_that_was_without_a_serialized_dag_has_not_changed(dag, session):
    pinned = select(DagVersion.id).where(DagVersion.version_number == 1)
    store_etl(session, runs=0, doc_md="another version")
    session.execute(update(DagRun).values(bundle_version="c1"))
    session.execute(delete(SerializedDagModel).where(SerializedDagModel.dag_version_id.in_(pinned)))
    session.commit()
    assert confirm(plan_of(days(1, 2))).status == "applied"


@pytest.mark.parametrize("bundle_version", [None, "c1"])
def test_that_nothing_has_moved_takes_one_statement(dag, session, bundle_version):
    session.execute(update(DagModel).values(bundle_version=bundle_version))
    session.commit()
    plan = plan_of(days(1, 2))
    with statements(session) as sent:
        assert drift.find_drift(plan, session) == ([], 0)
    assert len(sent) == 1


def test_a_database_that_returns_nothing_from_an_update(dag, session, one_run_a_batch, monkeypatch):
    monkeypatch.setattr(session.get_bind().dialect, "update_returning", False)
    plan = confirm(plan_of(days(1, 2)))
    assert (plan.status, plan.batches, plan.cleared_runs) == ("applied", 2, 2)
    plan = undo(plan)
    assert (plan.undone_runs, plan.batches) == (2, 4)
