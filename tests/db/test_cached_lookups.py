"""Look-ups answered from the cache get the answers of the database."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from sqlalchemy import and_, delete, func, or_, select

from safe_clear_plugin.airflow_api.clear.speedups import cached_lookups, history_copy, statement_patterns
from tests.db.clear_contract import DAG_ID
from tests.db.speedup_helpers import (
    NOW,
    big_history,
    clear_all,
    related_rows_of,
)
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]


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
    there = related_rows_of({ti.dag_run for ti in chosen}, wanted, session)
    with cached_lookups.cache_lookups(other.dag_id, chosen, wanted, there, session):
        assert session.scalar(count) == 1
        session.execute(delete(TaskReschedule).filter_by(ti_id=other.id))
        for ti in chosen:
            session.execute(delete(TaskReschedule).filter_by(ti_id=ti.id))
    assert session.scalar(select(func.count()).select_from(TaskReschedule)) == 0


def test_what_is_asked_once_is_asked_once_and_nothing_else_is_taken_for_it(session):
    ids = big_history(session, runs=2)
    wanted = select(TaskInstance.id).subquery()
    chosen = list(session.scalars(select(TaskInstance)))
    there = related_rows_of({ti.dag_run for ti in chosen}, wanted, session)
    with cached_lookups.cache_lookups(DAG_ID, chosen, wanted, there, session):
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

    there = related_rows_of(runs.values(), wanted, session)
    with cached_lookups.cache_lookups(DAG_ID, chosen, wanted, there, session):
        assert ask(3) == [0, *sorted(runs)]
        assert ask(2) == [1, *sorted(list(runs)[:2])]
        assert ask(3, dag_id="another") == [1]
        session.expunge(next(iter(runs.values())))
        assert ask(3) == [1, *sorted(runs)]


def test_an_airflow_that_asks_otherwise_is_cleared_all_the_same(session, monkeypatch, caplog):
    ids = big_history(session, runs=2)
    monkeypatch.setattr(statement_patterns, "_patterns_by_key", dict)
    monkeypatch.setattr(history_copy, "is_supported", lambda: False)
    monkeypatch.setattr(cached_lookups, "_warned", set())
    with caplog.at_level(logging.WARNING, logger=cached_lookups.__name__):
        for _ in range(2):
            with statements(session) as sent:
                clear_all(ids, session)
            states = set(session.scalars(select(TaskInstance.state)))
            session.rollback()
            session.expire_all()
    assert states == {None, "restarting"}
    assert sum("task_reschedule" in statement for statement in sent) >= len(ids)
    assert sorted(record.args for record in caplog.records) == [("history",), ("task_reschedule",)]
