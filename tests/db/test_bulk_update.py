"""Task instances updated together are written as one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import time_machine
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.sqlalchemy import ExtendedJSON
from sqlalchemy import String, TypeDecorator, cast, event, inspect, select, update
from sqlalchemy.exc import DataError

from safe_clear_plugin.airflow_api.clear.speedups import bulk_update
from tests.db.speedup_helpers import (
    NOW,
    SPEEDUPS,
    big_history,
    clear_all,
    differences,
    settled,
)
from tests.support.snapshots import snapshot
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]


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


ODD_VALUES: dict[type[Any], Any] = {
    datetime: datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc),
    bool: True,
    int: -2_147_483_648,
    float: 1e-300,
    str: "ä' \"\\ {},NULL \N{SNOWMAN}",
    UUID: UUID(int=2**128 - 1),
    dict: {"a": [None, 1.5, "é\\", {"b": "{NULL}"}], "": "\\u00e9"},
}


def odd_values() -> dict[str, Any]:
    """Return a value that is hard to write for each column that one statement writes for all rows."""
    found = {}
    for name, column in bulk_update._plain_columns().items():
        if not (column.primary_key or column.foreign_keys or name in IDENTITY):
            # SQLAlchemy 2.0 does not ask a type decorator's own type.
            stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
            kind = dict if isinstance(column.type, ExtendedJSON) else stored.python_type
            found[name] = partial(ODD_VALUES.__getitem__, kind)
    return found


IDENTITY = ("id", "dag_id", "run_id", "task_id", "map_index")


def test_each_type_of_column_is_written_as_one_by_one(session, monkeypatch):
    ids = big_history(session, runs=3)
    before, values = snapshot(session), odd_values()
    assert {"state", "duration", "try_number", "start_date", "context_carrier"} <= values.keys()
    left, carriers = [], []
    for speedups in ("False", "True"):
        monkeypatch.setenv(SPEEDUPS, speedups)
        with (
            time_machine.travel(NOW, tick=False),
            just_before_the_flush(session, **values),
            statements(session) as sent,
        ):
            clear_all(ids, session)
        left.append(settled(snapshot(session), before))
        carriers.append([carrier for _, carrier in ids_and_carriers(session).values()])
        session.rollback()
        session.expire_all()
    if session.get_bind().dialect.name == "postgresql":
        assert sum("unnest" in statement for statement in sent) == 1
    assert differences(*left) == {}
    assert carriers[0] == carriers[1]
