"""Reading ahead, lean loading and writing together leave what Airflow's plain call leaves, row for row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial, wraps
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.state import DagRunState, State
from sqlalchemy import String, and_, cast, delete, event, func, inspect, or_, select, true, update
from sqlalchemy.exc import DataError

from safe_clear_plugin.airflow_api import archiving, beside, clearing, locking, readahead
from tests.db.test_clear_contract import DAG_ID, RUN_STATES, SITUATIONS, Situation, set_up
from tests.support.factories import add_deadline, hitl_detail, leave_trail, make_run, set_states, store_dag
from tests.support.factories import task_instances as task_instances_of
from tests.support.scenes import etl_dag
from tests.support.snapshots import Snapshot, snapshot
from tests.support.statements import statements

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=timezone.utc)
TRAILS = (
    "note",
    "xcom",
    "rendered",
    "another_try",
    "same_try",
    "trigger",
    "resumes",
    "without_version",
    "never_tried",
)
RANDOM = ("context_carrier", "span_status")
PICKLED = "executor_config"


def leave_everything(session: Any) -> None:
    """Leave a reschedule, a question, an old try and more on some task instances of the run."""
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run")).one()
    for number, ti in enumerate(task_instances_of(run, session=session)):
        if number % 3 == 0:
            leave_trail(ti, "rescheduled", session=session)
        if number % 4 == 0:
            hitl_detail(ti, session=session, answered=number % 8 == 0)
        if number % 2 == 0:
            leave_trail(ti, TRAILS[number // 2 % len(TRAILS)], session=session)
    session.commit()
    add_deadline(run, session=session)


def ids_of_run(session: Any, *, planned: Callable[[Any], bool]) -> list[Any]:
    rows = session.execute(select(TaskInstance.id, TaskInstance.task_id).where(TaskInstance.run_id == "run"))
    return [row.id for row in rows if planned(row)]


def plain(ids: list[Any], session: Any, *, on_latest: bool, reset: bool) -> None:
    """Clear as Airflow does: load, call."""
    chosen = session.scalars(
        select(TaskInstance)
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(TaskInstance.id.in_(ids))
        .order_by(DagRun.id, TaskInstance.task_id, TaskInstance.map_index)
    )
    clear_task_instances(
        list(chosen),
        session,
        dag_run_state=DagRunState.QUEUED if reset else False,
        run_on_latest_version=on_latest,
    )


def ours(ids: list[Any], session: Any, *, on_latest: bool, reset: bool) -> None:
    clear_as_a_batch(DagRun.run_id == "run", ids, session, reset_dag_runs=reset, on_latest=on_latest)


def clear_as_a_batch(of_batch: Any, ids: list[Any], session: Any, **options: Any) -> None:
    pks = list(session.scalars(select(DagRun.id).where(of_batch)))
    runs = locking.load_dag_runs(pks, session)
    chosen = select(TaskInstance.id).where(TaskInstance.id.in_(ids))
    there = look_beside(runs, chosen.subquery(), session)
    clearing.clear(DAG_ID, runs, chosen, beside=there, session=session, **options)


def look_beside(runs: Iterable[Any], wanted: Any, session: Any) -> beside.Beside:
    run_ids = [run.run_id for run in runs]
    return beside.look(DAG_ID, run_ids, [run.id for run in runs], wanted, session)


def left_by(clear: Callable[..., None], ids: list[Any], session: Any, **options: Any) -> Snapshot:
    """Return all that a clear leaves when time stands still; roll it back."""
    with time_machine.travel(NOW, tick=False):
        clear(ids, session, **options)
        session.flush()
    rows = snapshot(session)
    session.rollback()
    session.expire_all()
    return rows


def settled(rows: Snapshot, before: Snapshot) -> Snapshot:
    """Replace what is drawn at random: the ids that the clear gave, wherever they stand, trace contexts."""
    known = {str(row["id"]) for row in before["task_instance"]}
    names = {
        str(row["id"]): f"new id of {row['task_id']} {row['map_index']}"
        for row in rows["task_instance"]
        if str(row["id"]) not in known
    }

    def settle(column: str, value: Any) -> Any:
        if column in RANDOM:
            return value is not None
        return names.get(str(value), value)

    return {
        table: sorted(
            ({column: settle(column, value) for column, value in row.items()} for row in found), key=repr
        )
        for table, found in rows.items()
    }


def differences(one: Snapshot, other: Snapshot) -> dict[str, Any]:
    return {
        table: (
            [row for row in one[table] if row not in other[table]],
            [row for row in other[table] if row not in one[table]],
        )
        for table in one
        if one[table] != other[table]
    }


@pytest.mark.parametrize("run_state", RUN_STATES)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_the_same_rows_as_the_plain_call(situation: Situation, run_state: str, session):
    set_up(situation, run_state, session)
    leave_everything(session)
    before = snapshot(session)
    ids = ids_of_run(session, planned=lambda row: not row.task_id.endswith(("removed", "source")))
    options = {"on_latest": bool(situation.on_latest), "reset": run_state != "queued"}
    expected = settled(left_by(plain, ids, session, **options), before)
    assert expected != settled(before, before)
    assert differences(settled(left_by(ours, ids, session, **options), before), expected) == {}


def leave_one(kind: str, session: Any) -> None:
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run")).one()
    one, another, *_ = task_instances_of(run, session=session)
    if kind == "deadline":
        add_deadline(run, session=session)
    elif kind == "question":
        hitl_detail(one, session=session)
    elif kind == "try of another id":
        leave_trail(one, "same_try", session=session)
        session.execute(update(TaskInstanceHistory).values(task_instance_id=uuid4()))
        session.execute(update(TaskInstance).where(TaskInstance.id == another.id).values(state="running"))
    elif kind == "beside without_version":
        session.execute(
            update(TaskInstance).where(TaskInstance.task_id == "load").values(dag_version_id=None)
        )
    elif kind != "nothing":
        leave_trail(one, kind, session=session)
    session.commit()


@pytest.mark.parametrize(
    "kind",
    [
        "nothing",
        "deadline",
        "question",
        "rescheduled",
        "same_try",
        "another_try",
        "try of another id",
        "without_version",
        "beside without_version",
    ],
)
@pytest.mark.parametrize("state", ["success", "failed", None, "up_for_retry"])
def test_the_same_rows_where_there_is_one_thing_alone(session, kind, state):
    """What is not there is not looked for, and that is said of each kind by itself."""
    run = big_history(session, runs=1) and session.scalars(select(DagRun)).one()
    set_states(run, dict.fromkeys(("extract", "transform", "load"), state), session=session)
    leave_one(kind, session)
    before = snapshot(session)
    ids = ids_of_run(session, planned=lambda row: row.task_id != "load")
    options = {"on_latest": False, "reset": True}
    expected = settled(left_by(plain, ids, session, **options), before)
    assert differences(settled(left_by(ours, ids, session, **options), before), expected) == {}


def big_history(session: Any, runs: int = 12) -> list[Any]:
    dag = etl_dag(DAG_ID)
    store_dag(dag, session=session)
    states = ("success", "failed", "running", "skipped", "up_for_retry", "deferred", None)
    ids = []
    for number in range(runs):
        run = make_run(dag, session=session, run_id="run" if number == 0 else f"run_{number}", state="failed")
        tasks = ("extract", "transform", "load")
        set_states(run, {t: states[(number + i) % len(states)] for i, t in enumerate(tasks)}, session=session)
        ids += [ti.id for ti in task_instances_of(run, session=session)]
    return ids


def clear_all(ids: list[Any], session: Any) -> None:
    clear_as_a_batch(true(), ids, session, reset_dag_runs=True, on_latest=False)


def test_the_number_of_statements_does_not_follow_the_number_of_task_instances(session):
    ids = big_history(session)
    counts = []
    for part in (ids[:6], ids):
        with statements(session) as sent:
            clear_all(part, session)
        counts.append(len(sent))
        session.rollback()
        session.expire_all()
    few, many = counts
    assert len(ids) == 36
    assert many <= few + 4


@pytest.fixture
def elsewhere(session):
    """Have every transaction in a time zone that is not UTC, where the database knows of such."""

    def go(connection: Any) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL TIME ZONE 'Asia/Kolkata'")

    engine = session.get_bind()
    event.listen(engine, "begin", go)
    yield
    event.remove(engine, "begin", go)


@pytest.mark.usefixtures("made_by")
@pytest.mark.parametrize("known", [True, False])
def test_the_history_is_the_same_to_the_letter(session, monkeypatch, elsewhere, known):
    """As the database has it: a NULL is not a null, and what was never set stays as it was."""
    monkeypatch.setattr(archiving, "is_known", lambda: known)
    big_history(session)
    odd = {"next_kwargs": {"a": 1}, "trigger_timeout": NOW, "task_display_name": "", "map_index": 2}
    session.execute(update(TaskInstance.__table__).where(TaskInstance.task_id == "load").values(odd))
    session.execute(
        update(TaskInstance.__table__)
        .where(TaskInstance.task_id == "extract")
        .values(context_carrier={"b": 2}, task_display_name="Extract", rendered_map_index="first")
    )
    session.commit()
    ids = list(session.scalars(select(TaskInstance.id).where(TaskInstance.state.is_not(None))))
    names = [column.name for column in archiving.HISTORY.columns if column.name != PICKLED]
    as_text = select(*(cast(archiving.HISTORY.c[name], String).label(name) for name in names))

    def history() -> list[Any]:
        found = list(session.execute(as_text.order_by(archiving.HISTORY.c.task_instance_id)))
        session.rollback()
        session.expire_all()
        return found

    with time_machine.travel(NOW, tick=False):
        chosen = list(session.scalars(select(TaskInstance).where(TaskInstance.id.in_(ids))))
        clear_task_instances(chosen, session)
        session.flush()
    expected = history()
    with time_machine.travel(NOW, tick=False):
        clear_all(ids, session)
    assert len(expected) == len(ids)
    assert history() == expected


def test_finished_ones_are_written_together(session):
    ids = big_history(session)
    finished = session.scalars(select(TaskInstance.id).where(TaskInstance.state.in_(State.finished)))
    with statements(session) as sent:
        clear_all(list(finished), session)
    assert sum("INTO task_instance_history" in statement for statement in sent) == 1
    assert not any("FROM hitl_detail" in statement for statement in sent)
    assert ids


def test_task_instances_are_updated_together(session):
    """Whatever their states are, and whichever columns change in which."""
    ids = big_history(session)
    with statements(session) as sent:
        clear_all(ids, session)
    updates = [statement for statement in sent if statement.startswith("UPDATE task_instance ")]
    assert len(updates) == 1
    assert ("unnest" in updates[0]) == (session.get_bind().dialect.name == "postgresql")


def test_whoever_listens_to_task_instances_hears_of_each_update(session):
    ids = big_history(session, runs=2)
    heard: list[Any] = []

    def hear(_: Any, __: Any, target: Any) -> None:
        heard.append((target.run_id, target.task_id))

    event.listen(TaskInstance, "before_update", hear)
    try:
        clear_all(ids, session)
    finally:
        event.remove(TaskInstance, "before_update", hear)
    assert len(set(heard)) == len(ids)


def test_whoever_asks_after_a_flush_is_told_what_was_written(session):
    ids = big_history(session, runs=2)
    told: set[Any] = set()

    def ask(flushed: Any, _: Any) -> None:
        rows = [row for row in flushed.dirty if isinstance(row, TaskInstance)]
        told.update((row.run_id, row.task_id) for row in rows if inspect(row).attrs.state.history.deleted)

    event.listen(session, "after_flush", ask)
    try:
        clear_all(ids, session)
    finally:
        event.remove(session, "after_flush", ask)
    assert len(told) == len(ids)


def ids_and_carriers(session: Any) -> dict[Any, tuple[Any, str]]:
    ti = TaskInstance
    rows = session.execute(select(ti.run_id, ti.task_id, ti.id, cast(ti.context_carrier, String)))
    return {row[:2]: row[2:] for row in map(tuple, rows)}


@pytest.mark.parametrize(
    "attribute",
    [TaskInstance.state, TaskInstance.context_carrier, DagRun.queued_at],
    ids=["each is cleared", "each is done with", "a run is touched"],
)
@pytest.mark.parametrize("only_at_the_last", [False, True])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_whoever_flushes_in_the_middle_of_a_clear_may(session, attribute, only_at_the_last, count):
    """As a deployment's mutation hook may, which has a task instance and so its session."""
    ids = big_history(session, runs=2)[:count]
    before = ids_and_carriers(session)

    def flush(target: Any, *_: Any) -> None:
        flushed = inspect(target).session
        dirty = [row for row in flushed.dirty if isinstance(row, TaskInstance)]
        if len(dirty) == count or not only_at_the_last:
            flushed.flush()

    event.listen(attribute, "set", flush)
    try:
        clear_all(ids, session)
    finally:
        event.remove(attribute, "set", flush)
    cleared = {key for key, (id_, _) in before.items() if id_ in ids}
    after = ids_and_carriers(session)
    for at, what in enumerate(("id", "context carrier")):
        assert {key for key in before if before[key][at] != after[key][at]} == cleared, what


@contextmanager
def just_before_the_flush(session: Any, **values: Callable[[], Any]) -> Iterator[None]:
    """Set attributes of the task instances, as a deployment's mutation hook does."""

    def set_all(flushed: Any, *_: Any) -> None:
        for row in flushed.dirty:
            if isinstance(row, TaskInstance):
                for name, value in values.items():
                    setattr(row, name, value())

    event.listen(session, "before_flush", set_all)
    try:
        yield
    finally:
        event.remove(session, "before_flush", set_all)


def test_what_is_too_long_is_refused_rather_than_cut(session):
    ids = big_history(session, runs=2)
    if session.get_bind().dialect.name != "postgresql":
        pytest.skip("SQLite stores strings of any length")
    with just_before_the_flush(session, queue=lambda: "q" * 300), pytest.raises(DataError):
        clear_all(ids, session)


class Incomparable:
    """As a pod is that an older library has pickled."""

    def __eq__(self, other: object) -> bool:
        raise AttributeError("this pod has no such attribute")

    __hash__ = None  # type: ignore[assignment]


def test_what_cannot_be_compared_is_written(session):
    ids = big_history(session, runs=2)
    pods = update(TaskInstance).values(executor_config={"pod": Incomparable()})
    session.execute(pods)
    session.commit()
    with just_before_the_flush(session, executor_config=lambda: {"pod": Incomparable()}):
        clear_all(ids, session)
    assert set(session.scalars(select(TaskInstance.state))) == {None, "restarting"}


def test_task_instances_that_are_archived_but_not_cleared_are_noticed(session):
    big_history(session, runs=2)
    chosen = list(session.scalars(select(TaskInstance).where(TaskInstance.state.in_(State.finished))))
    wanted = select(TaskInstance.id).where(TaskInstance.id.in_([ti.id for ti in chosen])).subquery()
    there = look_beside({ti.dag_run for ti in chosen}, wanted, session)
    with (
        readahead.reading_ahead(DAG_ID, chosen, wanted, there, session) as look_ups,
        pytest.raises(RuntimeError, match=f"{len(chosen) - 1} of {len(chosen)} archived"),
        archiving.archiving_together(chosen, wanted, look_ups, session),
    ):
        clear_task_instances(chosen[1:], session)


def test_a_null_in_a_column_of_json_is_written_as_airflow_does(session):
    """What only SQLAlchemy knows how to write is left to it."""
    ids = big_history(session, runs=3)
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(next_kwargs={"a": 1}))
    session.commit()
    before = snapshot(session)
    with time_machine.travel(NOW, tick=False):
        chosen = list(session.scalars(select(TaskInstance).where(TaskInstance.id.in_(ids))))
        clear_task_instances(chosen, session)
        session.flush()
    expected = settled(snapshot(session), before)
    session.rollback()
    session.expire_all()
    with time_machine.travel(NOW, tick=False):
        clear_all(ids, session)
    assert differences(settled(snapshot(session), before), expected) == {}


def test_an_airflow_that_prepares_otherwise_is_cleared_all_the_same(session, monkeypatch, caplog):
    ids = big_history(session, runs=2)
    monkeypatch.setattr(archiving, "KNOWN", frozenset())
    archiving._are_known.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger=archiving.__name__):
            for _ in range(2):
                clear_all(ids, session)
                assert set(session.scalars(select(TaskInstance.state))) == {None, "restarting"}
                session.rollback()
                session.expire_all()
    finally:
        archiving._are_known.cache_clear()
    assert len(caplog.records) == 1


def test_this_airflow_is_a_known_one():
    assert archiving.is_known()


def test_one_that_somebody_has_wrapped_is_not(monkeypatch):
    original = TaskInstanceHistory.record_ti

    @wraps(original)
    def counted(*args: Any, **options: Any) -> None:
        original(*args, **options)

    monkeypatch.setattr(TaskInstanceHistory, "record_ti", counted)
    assert not archiving.is_known()
    monkeypatch.setattr(TaskInstanceHistory, "record_ti", partial(original))
    assert archiving._digest(archiving._functions()) == "unknown"
    assert not archiving.is_known()


def test_whoever_listens_to_the_history_hears_of_each_try(session):
    ids = big_history(session, runs=2)
    heard: list[Any] = []

    def hear(_: Any, __: Any, target: Any) -> None:
        heard.append(target.task_instance_id)

    event.listen(TaskInstanceHistory, "before_insert", hear)
    try:
        clear_all(ids, session)
    finally:
        event.remove(TaskInstanceHistory, "before_insert", hear)
    assert set(heard) == set(ids)


def test_a_hook_that_asks_for_others_is_told_the_truth(session):
    """A deployment's own hook may look up any task instance in the middle of a clear."""
    ids = big_history(session, runs=2)
    other = session.get(TaskInstance, ids[0])
    session.add(TaskReschedule(other.id, NOW, NOW, NOW))
    session.add(TaskInstanceHistory(other, state="failed"))
    session.commit()
    tried = TaskInstanceHistory
    count = select(func.count(tried.task_id)).where(
        tried.dag_id == other.dag_id,
        tried.task_id == other.task_id,
        tried.run_id == other.run_id,
        tried.map_index == other.map_index,
        tried.try_number == other.try_number,
    )
    wanted = select(TaskInstance.id).where(TaskInstance.id.in_(ids[1:])).subquery()
    chosen = list(session.scalars(select(TaskInstance).join(wanted, wanted.c[0] == TaskInstance.id)))
    there = look_beside({ti.dag_run for ti in chosen}, wanted, session)
    with readahead.reading_ahead(other.dag_id, chosen, wanted, there, session):
        assert session.scalar(count) == 1
        session.execute(delete(TaskReschedule).filter_by(ti_id=other.id))
        for ti in chosen:
            session.execute(delete(TaskReschedule).filter_by(ti_id=ti.id))
    assert session.scalar(select(func.count()).select_from(TaskReschedule)) == 0


def test_what_is_asked_once_is_asked_once_and_nothing_else_is_taken_for_it(session):
    ids = big_history(session, runs=2)
    wanted = select(TaskInstance.id).subquery()
    chosen = list(session.scalars(select(TaskInstance)))
    there = look_beside({ti.dag_run for ti in chosen}, wanted, session)
    with readahead.reading_ahead(DAG_ID, chosen, wanted, there, session):
        latest = DagVersion.get_latest_version(DAG_ID, session=session)
        with statements(session) as sent:
            assert DagVersion.get_latest_version(DAG_ID, session=session) is latest is not None
            assert sent == []
            assert DagVersion.get_latest_version("another", session=session) is None
            assert session.scalar(select(func.count(TaskInstance.id))) == len(ids)
            assert len(sent) == 2
    with statements(session) as sent:
        assert DagVersion.get_latest_version(DAG_ID, session=session) is latest
    assert len(sent) == 1


def test_the_runs_are_those_that_are_at_hand(session):
    big_history(session, runs=3)
    wanted = select(TaskInstance.id).subquery()
    chosen = list(session.scalars(select(TaskInstance)))
    runs = {ti.dag_run.id: ti.dag_run for ti in chosen}

    def ask(*numbers: int, dag_id: str = DAG_ID) -> list[Any]:
        run_ids = {run.run_id for run in list(runs.values())[slice(*numbers)]}
        where = or_(and_(DagRun.dag_id == dag_id, DagRun.run_id.in_(run_ids)))
        with statements(session) as sent:
            found = list(session.scalars(select(DagRun).where(where)).all())
        return [len(sent), *sorted(run.id for run in found)]

    there = look_beside(runs.values(), wanted, session)
    with readahead.reading_ahead(DAG_ID, chosen, wanted, there, session):
        assert ask(3) == [0, *sorted(runs)]
        assert ask(2) == [1, *sorted(list(runs)[:2])]
        assert ask(3, dag_id="another") == [1]
        session.expunge(next(iter(runs.values())))
        assert ask(3) == [1, *sorted(runs)]


def test_an_airflow_that_asks_otherwise_is_cleared_all_the_same(session, monkeypatch, caplog):
    ids = big_history(session, runs=2)
    monkeypatch.setattr(readahead, "_known_shapes", dict)
    monkeypatch.setattr(archiving, "is_known", lambda: False)
    monkeypatch.setattr(readahead, "_told", set())
    with caplog.at_level(logging.WARNING, logger=readahead.__name__):
        for _ in range(2):
            with statements(session) as sent:
                clear_all(ids, session)
            states = set(session.scalars(select(TaskInstance.state)))
            session.rollback()
            session.expire_all()
    assert states == {None, "restarting"}
    assert sum("task_reschedule" in statement for statement in sent) >= len(ids)
    assert sorted(record.args for record in caplog.records) == [("history",), ("task_reschedule",)]
