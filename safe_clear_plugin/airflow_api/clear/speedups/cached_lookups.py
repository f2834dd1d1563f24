"""Answers the look-ups that ``clear_task_instances`` makes row by row from a few queries for a whole batch.

Airflow's function stays as it is: a listener on Safe Clear's own session answers a statement that has one of
the known patterns in tables, columns and operators; every other statement goes to the database. It answers
only what the database would have answered, and skips only what would have changed nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any
from uuid import UUID

from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from sqlalchemy import FromClause, and_, event, false, or_, select, true
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.orm import ORMExecuteState, Session

from safe_clear_plugin.airflow_api.clear.related_rows import RelatedRows
from safe_clear_plugin.airflow_api.clear.speedups.statement_patterns import (
    ONCE_PER_CLEAR,
    ONCE_PER_TASK_INSTANCE,
    recognize,
)
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of, of_dag

log = logging.getLogger(__name__)

_warned: set[str] = set()
_warning = threading.Lock()

Result = IteratorResult[Any]


def _result(*rows: Any) -> Result:
    return IteratorResult(SimpleResultMetaData(["value"]), iter([(row,) for row in rows]))


class Lookups:
    """The rows that Airflow looks up for the task instances and dag runs of one batch.

    Any other look-up, for example by a deployment's own hook, goes to the database.
    """

    def __init__(
        self,
        dag_id: str,
        task_instances: Sequence[TaskInstance],
        wanted: FromClause,
        related: RelatedRows,
        session: Session,
    ) -> None:
        self.seen: Counter[str] = Counter()
        self.expected = True
        """Whether any task instance is left to look for its own."""
        self._session = session
        self._known: dict[tuple[str, tuple[Any, ...]], Any] = {}
        self._runs = {ti.run_id: ti.dag_run for ti in task_instances}
        run_pks = [run.id for run in self._runs.values()]
        ids = {(ti.id,) for ti in task_instances}
        self._covers: dict[str, set[tuple[Any, ...]]] = {
            "history": {_try(ti) for ti in task_instances},
            "hitl_detail": ids,
            "task_reschedule": ids,
            "deadline": {(run_pk,) for run_pk in run_pks},
            "pin_version": {(dag_id, ti.run_id) for ti in task_instances},
        }
        by_id = related.this_try or related.questions or related.reschedules
        there = self._there_by_id(dag_id, wanted) if by_id else {}
        by_run = related.deadlines or related.versionless
        with_deadline, without_version = self._there_by_run(dag_id, run_pks) if by_run else (set(), set())
        self._there: dict[str, set[tuple[Any, ...]]] = {
            "history": {_try(one) for one in task_instances if one.id in there and there[one.id].history},
            "hitl_detail": {(id_,) for id_, row in there.items() if row.hitl_detail},
            "task_reschedule": {(id_,) for id_, row in there.items() if row.task_reschedule},
            "deadline": {(run_pk,) for run_pk in with_deadline},
            "pin_version": {(dag_id, ti.run_id) for ti in task_instances if ti.dag_run.id in without_version},
        }
        self._covers["dag_runs"] = {(dag_id, frozenset(self._runs))}

    def known_empty(self, task_instance: TaskInstance) -> bool:
        """Whether neither this try nor a question nor a reschedule of the task instance is there."""
        there = self._there
        return (
            _try(task_instance) not in there["history"]
            and (task_instance.id,) not in there["hitl_detail"]
            and (task_instance.id,) not in there["task_reschedule"]
        )

    def _there_by_id(self, dag_id: str, wanted: FromClause) -> dict[UUID, Any]:
        """Return, by task instance, which of the three that each may have are there, where any is."""
        ti, history = TaskInstance, TaskInstanceHistory
        tried = and_(
            of_dag(history.__table__, dag_id),
            history.run_id.in_(self._runs),
            history.run_id == ti.run_id,
            history.task_id == ti.task_id,
            history.map_index == ti.map_index,
            history.try_number == ti.try_number,
        )
        kinds = {
            "history": history.task_instance_id,
            "hitl_detail": HITLDetail.ti_id,
            "task_reschedule": TaskReschedule.ti_id,
        }
        ids = select(wanted.c[0])
        # Joined: of an EXISTS in its place, PostgreSQL may read the whole table.
        query = (
            select(ti.id, *(there.is_not(None).label(name) for name, there in kinds.items()))
            .select_from(ti)
            .outerjoin(history, tried)
            .outerjoin(HITLDetail, and_(HITLDetail.ti_id == ti.id, is_one_of(HITLDetail.ti_id, ids)))
            .outerjoin(
                TaskReschedule, and_(TaskReschedule.ti_id == ti.id, is_one_of(TaskReschedule.ti_id, ids))
            )
            .where(is_one_of(ti.id, ids), or_(*(there.is_not(None) for there in kinds.values())))
            .distinct()
        )
        with hash_joins(self._session):
            return {row.id: row for row in self._session.execute(query)}

    def _there_by_run(self, dag_id: str, run_pks: Sequence[int]) -> tuple[set[int], set[int]]:
        """Return the runs that have a deadline, and those with a task instance without a DAG version."""
        ti = TaskInstance
        with_deadline = select(Deadline.dagrun_id.label("run_pk"), true().label("deadline")).where(
            Deadline.dagrun_id.in_(run_pks)
        )
        without_version = (
            select(DagRun.id, false())
            .join(ti, DagRun.run_id == ti.run_id)
            .where(DagRun.id.in_(run_pks), of_dag(ti.__table__, dag_id), ti.run_id.in_(self._runs))
            .where(ti.dag_version_id.is_(None))
        )
        with hash_joins(self._session):
            found = self._session.execute(with_deadline.union(without_version)).all()
        return {row.run_pk for row in found if row.deadline}, {
            row.run_pk for row in found if not row.deadline
        }

    def answer(self, state: ORMExecuteState) -> Result | None:
        """Answer a statement that has a known pattern, or leave it to the database."""
        name, asked = recognize(state.statement)
        if not name:
            return None
        self.seen[name] += 1
        if name in ONCE_PER_CLEAR:
            return self._remembered(name, asked, state)
        if asked not in self._covers[name]:
            return None
        if name == "dag_runs":
            return self._runs_at_hand()
        if name == "history":
            return _result(int(asked in self._there[name]))
        return None if asked in self._there[name] else _result()

    def _runs_at_hand(self) -> Result | None:
        """Return the runs, which are locked and loaded, unless somebody has taken one out of the session."""
        runs = sorted(self._runs.values(), key=attrgetter("id"))
        return _result(*runs) if all(run in self._session for run in runs) else None

    def scalar(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Return what ``Session.scalar`` does, at once if it is known."""
        if not (arguments or options) and (asked := recognize(statement)) in self._known:
            self.seen[asked[0]] += 1
            return self._known[asked]
        return type(self._session).scalar(self._session, statement, *arguments, **options)

    def _remembered(self, name: str, asked: tuple[Any, ...], state: ORMExecuteState) -> Result:
        if (name, asked) not in self._known:
            self._known[name, asked] = state.invoke_statement().scalar()
        found = self._known[name, asked]
        return _result() if found is None else _result(found)


def _try(ti: TaskInstance) -> tuple[Any, ...]:
    return ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number


@contextmanager
def cache_lookups(
    dag_id: str,
    task_instances: Sequence[TaskInstance],
    wanted: FromClause,
    related: RelatedRows,
    session: Session,
) -> Iterator[Lookups]:
    """Answer the look-ups that are made within for these task instances, whose ids ``wanted`` selects.

    ``related`` says what there is to be read of them at all.
    """
    lookups = Lookups(dag_id, task_instances, wanted, related, session)
    event.listen(session, "do_orm_execute", lookups.answer)
    # On this object alone. What Airflow asks for every task instance has an answer before it is executed.
    session.__dict__["scalar"] = lookups.scalar
    try:
        yield lookups
    finally:
        del session.__dict__["scalar"]
        event.remove(session, "do_orm_execute", lookups.answer)
    for name in ONCE_PER_TASK_INSTANCE if lookups.expected else ():
        if not lookups.seen[name]:
            _warn_once(name)


def _warn_once(name: str) -> None:
    with _warning:
        if name in _warned:
            return
        _warned.add(name)
    log.warning(
        "This Airflow's clear_task_instances does not look for %s as the known versions do: "
        "clears are as right as ever, but slower.",
        name,
    )
