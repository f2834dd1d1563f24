"""Answers the look-ups that ``clear_task_instances`` makes row by row from a few queries for a whole batch.

Airflow's function stays as it is: a listener on Safe Clear's own session answers a statement that is, in
tables, columns and operators, one of those written down here; every other goes to the database. It answers
only what the database would have answered, and skips only what would have changed nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.state import State
from sqlalchemy import FromClause, and_, delete, event, false, func, or_, select, true, update
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.orm import ORMExecuteState, Session

from safe_clear_plugin.airflow_api.beside import Beside

log = logging.getLogger(__name__)

ONE_EACH = ("history", "task_reschedule")
"""Look-ups that Airflow makes for every task instance: where none is seen, its function has changed."""
ASKED_ONCE = ("latest_version", "dag_hash")
"""Look-ups whose first answer holds for the transaction: the plan stands for these very versions."""

_told: set[str] = set()
_telling = threading.Lock()


@dataclass(frozen=True)
class Shape:
    """A statement of Airflow's; ``asks`` are the values in it whose places hold what it asks for."""

    name: str
    statement: Any
    asks: tuple[Any, ...]


def _some_id(number: int) -> UUID:
    return UUID(int=number)


def _shapes() -> Iterator[Shape]:
    """Yield the statements, each built as the Airflow function that is named above it builds it."""
    history, deadline = TaskInstanceHistory, Deadline
    # TaskInstanceHistory.record_ti
    yield Shape(
        "history",
        select(func.count(history.task_id)).where(
            history.dag_id == "dag",
            history.task_id == "task",
            history.run_id == "run",
            history.map_index == -7,
            history.try_number == -8,
        ),
        ("dag", "task", "run", -7, -8),
    )
    # TaskInstanceHistory.record_ti
    yield Shape("hitl_detail", select(HITLDetail).where(HITLDetail.ti_id == _some_id(1)), (_some_id(1),))
    # TaskInstance.prepare_db_for_next_try
    yield Shape("task_reschedule", delete(TaskReschedule).filter_by(ti_id=_some_id(1)), (_some_id(1),))
    # DagVersion.get_latest_version
    if latest := getattr(DagVersion, "_latest_version_select", None):
        yield Shape("latest_version", latest("dag"), ("dag",))
    # DBDagBag._current_dag_hash
    serialized = SerializedDagModel
    yield Shape(
        "dag_hash",
        select(serialized.dag_hash).where(serialized.dag_version_id == _some_id(1)),
        (_some_id(1),),
    )
    # clear_task_instances
    yield Shape(
        "dag_runs",
        select(DagRun).where(or_(and_(DagRun.dag_id == "dag", DagRun.run_id.in_(["run"])))),
        ("dag", ["run"]),
    )
    # _recalculate_dagrun_queued_at_deadlines
    alert = airflow_taskinstance.DeadlineAlertModel
    models = airflow_taskinstance.ReferenceModels
    yield Shape(
        "deadline",
        select(deadline, alert)
        .join(alert, deadline.deadline_alert_id == alert.id)
        .where(
            deadline.dagrun_id == -7,
            deadline.missed == false(),
            alert.reference[models.REFERENCE_TYPE_FIELD].as_string()
            == models.DagRunQueuedAtDeadline.__name__,
        ),
        (-7,),
    )
    # _pin_versionless_tis_to_run_version
    ti = TaskInstance
    yield Shape(
        "pin_version",
        update(ti)
        .where(
            ti.dag_id == "dag",
            ti.run_id == "run",
            ti.dag_version_id.is_(None),
            or_(ti.state.is_(None), ti.state.in_(State.unfinished)),
        )
        .values(dag_version_id=_some_id(1)),
        ("dag", "run"),
    )


def _cache_key(statement: Any) -> Any:
    """Return SQLAlchemy's key of a statement: equal for statements that differ in parameters only."""
    return statement._generate_cache_key()


@cache
def _known_shapes() -> dict[Any, tuple[str, tuple[int, ...]]]:
    """Return name and places of what is asked for, by what statements of one shape have in common."""
    known = {}
    for shape in _shapes():
        key = _cache_key(shape.statement)
        values = [bind.effective_value for bind in key.bindparams]
        known[key.key] = (shape.name, tuple(values.index(asked) for asked in shape.asks))
    return known


def _recognized(statement: Any) -> tuple[str, tuple[Any, ...]]:
    """Return the name of a statement's shape, and what it asks for; no name if the shape is not known."""
    key = _cache_key(statement)
    name, places = _known_shapes().get(key.key, ("", ())) if key else ("", ())
    return name, tuple(_hashable(key.bindparams[place].effective_value) for place in places)


def _hashable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, set, tuple)) else value


Result = IteratorResult[Any]


def _result(*rows: Any) -> Result:
    return IteratorResult(SimpleResultMetaData(["value"]), iter([(row,) for row in rows]))


class LookUps:
    """What there is of the things that Airflow looks for, in the task instances and dag runs of one batch.

    Whoever asks for another than these, as a hook of a deployment's may, asks the database.
    """

    def __init__(
        self,
        dag_id: str,
        task_instances: Sequence[TaskInstance],
        wanted: FromClause,
        beside: Beside,
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
        by_id = beside.this_try or beside.questions or beside.reschedules
        there = self._there_by_id(wanted) if by_id else {}
        by_run = beside.deadlines or beside.versionless
        with_deadline, without_version = self._there_by_run(dag_id, run_pks) if by_run else (set(), set())
        self._there: dict[str, set[tuple[Any, ...]]] = {
            "history": {_try(one) for one in task_instances if one.id in there and there[one.id].history},
            "hitl_detail": {(id_,) for id_, row in there.items() if row.hitl_detail},
            "task_reschedule": {(id_,) for id_, row in there.items() if row.task_reschedule},
            "deadline": {(run_pk,) for run_pk in with_deadline},
            "pin_version": {(dag_id, ti.run_id) for ti in task_instances if ti.dag_run.id in without_version},
        }
        self._covers["dag_runs"] = {(dag_id, frozenset(self._runs))}

    def has_nothing_of(self, task_instance: TaskInstance) -> bool:
        """Whether neither this try nor a question nor a reschedule of the task instance is there."""
        there = self._there
        return (
            _try(task_instance) not in there["history"]
            and (task_instance.id,) not in there["hitl_detail"]
            and (task_instance.id,) not in there["task_reschedule"]
        )

    def _there_by_id(self, wanted: FromClause) -> dict[UUID, Any]:
        """Return, by task instance, which of the three that each may have are there, where any is."""
        ti, history = TaskInstance, TaskInstanceHistory
        tried = and_(
            history.dag_id == ti.dag_id,
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
        # Joined: of an EXISTS in its place, PostgreSQL may read the whole table.
        found = self._session.execute(
            select(ti.id, *(there.is_not(None).label(name) for name, there in kinds.items()))
            .join(wanted, wanted.c[0] == ti.id)
            .outerjoin(history, tried)
            .outerjoin(HITLDetail, HITLDetail.ti_id == ti.id)
            .outerjoin(TaskReschedule, TaskReschedule.ti_id == ti.id)
            .where(or_(*(there.is_not(None) for there in kinds.values())))
            .distinct()
        )
        return {row.id: row for row in found}

    def _there_by_run(self, dag_id: str, run_pks: Sequence[int]) -> tuple[set[int], set[int]]:
        """Return the runs that have a deadline, and those with a task instance without a DAG version."""
        ti = TaskInstance
        with_deadline = select(Deadline.dagrun_id.label("run_pk"), true().label("deadline")).where(
            Deadline.dagrun_id.in_(run_pks)
        )
        without_version = (
            select(DagRun.id, false())
            .join(ti, and_(DagRun.dag_id == ti.dag_id, DagRun.run_id == ti.run_id))
            .where(DagRun.id.in_(run_pks), ti.dag_id == dag_id, ti.dag_version_id.is_(None))
        )
        found = self._session.execute(with_deadline.union(without_version)).all()
        return {row.run_pk for row in found if row.deadline}, {
            row.run_pk for row in found if not row.deadline
        }

    def answer(self, state: ORMExecuteState) -> Result | None:
        """Answer a statement of a known shape, or leave it to the database."""
        name, asked = _recognized(state.statement)
        if not name:
            return None
        self.seen[name] += 1
        if name in ASKED_ONCE:
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
        if not (arguments or options) and (asked := _recognized(statement)) in self._known:
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
def reading_ahead(
    dag_id: str,
    task_instances: Sequence[TaskInstance],
    wanted: FromClause,
    beside: Beside,
    session: Session,
) -> Iterator[LookUps]:
    """Answer the look-ups that are made within for these task instances, whose ids ``wanted`` selects.

    ``beside`` says what there is to be read of them at all.
    """
    look_ups = LookUps(dag_id, task_instances, wanted, beside, session)
    event.listen(session, "do_orm_execute", look_ups.answer)
    # On this object alone. What Airflow asks for every task instance has an answer before it is executed.
    session.__dict__["scalar"] = look_ups.scalar
    try:
        yield look_ups
    finally:
        del session.__dict__["scalar"]
        event.remove(session, "do_orm_execute", look_ups.answer)
    for name in ONE_EACH if look_ups.expected else ():
        if not look_ups.seen[name]:
            _tell_once(name)


def _tell_once(name: str) -> None:
    with _telling:
        if name in _told:
            return
        _told.add(name)
    log.warning(
        "This Airflow's clear_task_instances does not look for %s as the known versions do: "
        "clears are as right as ever, but slower.",
        name,
    )
