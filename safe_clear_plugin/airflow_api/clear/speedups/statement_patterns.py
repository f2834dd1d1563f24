"""The look-ups of ``clear_task_instances``, and how to recognize one of them among all statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
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
from sqlalchemy import and_, delete, false, func, or_, select, update

ONCE_PER_TASK_INSTANCE = ("history", "task_reschedule")
"""Look-ups that Airflow makes for every task instance: where none is seen, its function has changed."""
ONCE_PER_CLEAR = ("latest_version", "dag_hash")
"""Look-ups whose first answer holds for the transaction: the plan stands for these very versions."""


@dataclass(frozen=True)
class StatementPattern:
    """A statement of Airflow's; ``arguments`` are the values in it whose places hold what it looks for."""

    name: str
    statement: Any
    arguments: tuple[Any, ...]


def _some_id(number: int) -> UUID:
    return UUID(int=number)


def _history() -> StatementPattern:
    """Build what ``TaskInstanceHistory.record_ti`` asks: whether this try is in the history already."""
    history = TaskInstanceHistory
    statement = select(func.count(history.task_id)).where(
        history.dag_id == "dag",
        history.task_id == "task",
        history.run_id == "run",
        history.map_index == -7,
        history.try_number == -8,
    )
    return StatementPattern("history", statement, ("dag", "task", "run", -7, -8))


def _hitl_detail() -> StatementPattern:
    """Build what ``TaskInstanceHistory.record_ti`` asks: the question to a person."""
    statement = select(HITLDetail).where(HITLDetail.ti_id == _some_id(1))
    return StatementPattern("hitl_detail", statement, (_some_id(1),))


def _task_reschedule() -> StatementPattern:
    """Build the DELETE of ``TaskInstance.prepare_db_for_next_try``."""
    statement = delete(TaskReschedule).filter_by(ti_id=_some_id(1))
    return StatementPattern("task_reschedule", statement, (_some_id(1),))


def _latest_version() -> StatementPattern:
    """Build what ``DagVersion.get_latest_version`` asks."""
    return StatementPattern("latest_version", DagVersion._latest_version_select("dag"), ("dag",))


def _dag_hash() -> StatementPattern:
    """Build what ``DBDagBag._current_dag_hash`` asks."""
    serialized = SerializedDagModel
    statement = select(serialized.dag_hash).where(serialized.dag_version_id == _some_id(1))
    return StatementPattern("dag_hash", statement, (_some_id(1),))


def _dag_runs() -> StatementPattern:
    """Build what ``clear_task_instances`` asks: the dag runs of its task instances."""
    statement = select(DagRun).where(or_(and_(DagRun.dag_id == "dag", DagRun.run_id.in_(["run"]))))
    return StatementPattern("dag_runs", statement, ("dag", ["run"]))


def _deadline() -> StatementPattern:
    """Build what ``_recalculate_dagrun_queued_at_deadlines`` asks."""
    alert = airflow_taskinstance.DeadlineAlertModel
    models = airflow_taskinstance.ReferenceModels
    reference = alert.reference[models.REFERENCE_TYPE_FIELD].as_string()
    statement = (
        select(Deadline, alert)
        .join(alert, Deadline.deadline_alert_id == alert.id)
        .where(
            Deadline.dagrun_id == -7,
            Deadline.missed == false(),
            reference == models.DagRunQueuedAtDeadline.__name__,
        )
    )
    return StatementPattern("deadline", statement, (-7,))


def _pin_version() -> StatementPattern:
    """Build the UPDATE of ``_pin_versionless_tis_to_run_version``."""
    ti = TaskInstance
    statement = (
        update(ti)
        .where(
            ti.dag_id == "dag",
            ti.run_id == "run",
            ti.dag_version_id.is_(None),
            or_(ti.state.is_(None), ti.state.in_(State.unfinished)),
        )
        .values(dag_version_id=_some_id(1))
    )
    return StatementPattern("pin_version", statement, ("dag", "run"))


_BUILDERS = (
    _history,
    _hitl_detail,
    _task_reschedule,
    _latest_version,
    _dag_hash,
    _dag_runs,
    _deadline,
    _pin_version,
)


def _patterns() -> Iterator[StatementPattern]:
    """Yield the patterns of the installed Airflow: one that lacks a name which a statement needs has none."""
    for build in _BUILDERS:
        with suppress(AttributeError):
            yield build()


def _cache_key(statement: Any) -> Any:
    """Return SQLAlchemy's key of a statement: equal for statements that differ in parameters only."""
    return statement._generate_cache_key()


@cache
def _patterns_by_key() -> dict[Any, tuple[str, tuple[int, ...]]]:
    """Return name and places of the arguments, by what statements of one pattern have in common."""
    known = {}
    for pattern in _patterns():
        key = _cache_key(pattern.statement)
        values = [bind.effective_value for bind in key.bindparams]
        known[key.key] = (pattern.name, tuple(values.index(argument) for argument in pattern.arguments))
    return known


def recognize(statement: Any) -> tuple[str, tuple[Any, ...]]:
    """Return the name of a statement's pattern and its arguments; the name is empty if it has no pattern."""
    key = _cache_key(statement)
    name, places = _patterns_by_key().get(key.key, ("", ())) if key else ("", ())
    return name, tuple(_hashable(key.bindparams[place].effective_value) for place in places)


def _hashable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, set, tuple)) else value
