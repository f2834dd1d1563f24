"""The history rows that the database copies are those that Airflow writes."""

from __future__ import annotations

import logging
from functools import partial, wraps
from typing import Any

import pytest
import time_machine
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.state import State
from sqlalchemy import String, cast, event, select, update

from safe_clear_plugin.airflow_api.clear.speedups import cached_lookups, history_copy
from tests.db.clear_contract import DAG_ID
from tests.db.speedup_helpers import (
    NOW,
    big_history,
    clear_all,
    related_rows_of,
)
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]

PICKLED = "executor_config"


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
    monkeypatch.setattr(history_copy, "is_supported", lambda: known)
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
    names = [column.name for column in history_copy.HISTORY.columns if column.name != PICKLED]
    as_text = select(*(cast(history_copy.HISTORY.c[name], String).label(name) for name in names))

    def history() -> list[Any]:
        found = list(session.execute(as_text.order_by(history_copy.HISTORY.c.task_instance_id)))
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
    # They are counted once, and not looked for one by one.
    assert sum("hitl_detail" in statement for statement in sent) == 1
    assert ids


def test_task_instances_that_are_archived_but_not_cleared_are_noticed(session):
    big_history(session, runs=2)
    chosen = list(session.scalars(select(TaskInstance).where(TaskInstance.state.in_(State.finished))))
    wanted = select(TaskInstance.id).where(TaskInstance.id.in_([ti.id for ti in chosen])).subquery()
    there = related_rows_of({ti.dag_run for ti in chosen}, wanted, session)
    with (
        cached_lookups.cache_lookups(DAG_ID, chosen, wanted, there, session) as lookups,
        pytest.raises(RuntimeError, match=f"{len(chosen) - 1} of {len(chosen)} archived"),
        history_copy.copy_history(chosen, wanted, lookups, session),
    ):
        clear_task_instances(chosen[1:], session)


def test_an_airflow_that_prepares_otherwise_is_cleared_all_the_same(session, monkeypatch, caplog):
    ids = big_history(session, runs=2)
    monkeypatch.setattr(history_copy, "SUPPORTED_SOURCE_DIGESTS", frozenset())
    history_copy._has_supported_source.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger=history_copy.__name__):
            for _ in range(2):
                clear_all(ids, session)
                assert set(session.scalars(select(TaskInstance.state))) == {None, "restarting"}
                session.rollback()
                session.expire_all()
    finally:
        history_copy._has_supported_source.cache_clear()
    assert len(caplog.records) == 1


def test_this_airflow_is_a_known_one():
    assert history_copy.is_supported()


def test_one_that_somebody_has_wrapped_is_not(monkeypatch):
    original = TaskInstanceHistory.record_ti

    @wraps(original)
    def counted(*args: Any, **options: Any) -> None:
        original(*args, **options)

    monkeypatch.setattr(TaskInstanceHistory, "record_ti", counted)
    assert not history_copy.is_supported()
    monkeypatch.setattr(TaskInstanceHistory, "record_ti", partial(original))
    assert history_copy._digest(history_copy._functions()) == "unknown"
    assert not history_copy.is_supported()


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
