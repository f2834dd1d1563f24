"""Copies the tries of a batch to the history with one ``INSERT … SELECT`` before the clear.

``clear_task_instances`` has each task instance prepare itself for its next try: it looks for its try in the
history, for a question to a person and for reschedules, makes an object of all its columns, and takes a new
id. For a finished task instance that has none of these, only the history row and the new id are needed, so
the database copies the row and the clear just gives the new id. All other task instances take Airflow's own
path, and all of them do in an Airflow whose functions are not known here.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from operator import attrgetter
from typing import Any

from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.state import State
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.speedups.cached_lookups import Lookups
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.airflow_api.platform.session import count_written

log = logging.getLogger(__name__)

SUPPORTED_SOURCE_DIGESTS = frozenset({"e42cc978fe512728", "7526ce509c9e6496"})
"""Digests of the functions below in the versions of Airflow that this was tested with: 3.2 and 3.3."""

HISTORY = TaskInstanceHistory.__table__
ROW_COLUMNS = tuple(column for column in HISTORY.columns if column.name != "task_instance_id")
_defaulted = attrgetter(
    *(
        column.name
        for column in HISTORY.columns
        if column.default is not None or column.server_default is not None
    )
)
"""Columns in which the object that Airflow makes would not keep a NULL."""


def _functions() -> tuple[Any, ...]:
    """Return ``prepare_db_for_next_try``, ``record_ti`` and the history's constructor, as they are now."""
    return (
        TaskInstance.prepare_db_for_next_try,
        # Not bound to the class, which would be another object each time.
        vars(TaskInstanceHistory)["record_ti"],
        mapped(TaskInstanceHistory).class_manager.original_init,
    )


def _digest(functions: tuple[Any, ...]) -> str:
    functions = tuple(getattr(function, "__func__", function) for function in functions)
    try:
        sources = [f"{_wrappers(function)} {inspect.getsource(function)}" for function in functions]
    except (OSError, TypeError):
        return "unknown"
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:16]


def _wrappers(function: Any) -> int:
    """Return how many functions lie around one: its source does not show that somebody has wrapped it."""
    count = 0
    while (function := getattr(function, "__wrapped__", None)) is not None:
        count += 1
    return count


def is_supported() -> bool:
    """Whether this Airflow prepares a task instance for its next try as is done here; told once if not.

    A listener to history rows hears of objects only, so objects are made for it.
    """
    return not _is_listened_to() and _has_supported_source(_functions())


def _is_listened_to() -> bool:
    dispatch = mapped(TaskInstanceHistory).dispatch
    return bool(dispatch.before_insert or dispatch.after_insert)


@cache
def _has_supported_source(functions: tuple[Any, ...]) -> bool:
    if (digest := _digest(functions)) in SUPPORTED_SOURCE_DIGESTS:
        return True
    log.warning(
        "This Airflow prepares task instances for their next try otherwise than the known versions do (%s): "
        "clears are as right as ever, but slower.",
        digest,
    )
    return False


@contextmanager
def copy_history(
    task_instances: Sequence[TaskInstance], wanted: FromClause, lookups: Lookups, session: Session
) -> Iterator[None]:
    """Write the history of those of a batch that can be prepared here, and let them take their ids within.

    ``wanted`` selects the ids of the task instances, which are locked and have not been changed.
    """
    chosen = [ti for ti in task_instances if _is_plain(ti, lookups)] if is_supported() else []
    lookups.expected = len(chosen) < len(task_instances)
    if chosen:
        _copy(chosen, task_instances, wanted, session)
    prepared: list[TaskInstance] = []
    for task_instance in chosen:
        # On the object alone: Airflow's class, and another clear at the same time, are not touched.
        task_instance.__dict__["prepare_db_for_next_try"] = partial(_take_new_id, task_instance, prepared)
    try:
        yield
    finally:
        for task_instance in chosen:
            del task_instance.__dict__["prepare_db_for_next_try"]
    if len(prepared) != len(chosen):
        raise RuntimeError(f"{len(prepared)} of {len(chosen)} archived task instances were cleared.")


def _is_plain(task_instance: TaskInstance, lookups: Lookups) -> bool:
    return (
        task_instance.state in State.finished
        and lookups.known_empty(task_instance)
        and None not in _defaulted(task_instance)
    )


def _take_new_id(
    task_instance: TaskInstance,
    prepared: list[TaskInstance],
    session: Session,  # noqa: ARG001 (what Airflow gives)
) -> None:
    task_instance.id = airflow_taskinstance.uuid7()
    prepared.append(task_instance)


def _copy(
    chosen: Sequence[TaskInstance], among: Sequence[TaskInstance], wanted: FromClause, session: Session
) -> None:
    tries = _tries().where(is_one_of(TaskInstance.id, select(wanted.c[0])))
    if len(chosen) < len(among):
        ids = {ti.id for ti in chosen}
        tries = tries.where(TaskInstance.id.not_in([ti.id for ti in among if ti.id not in ids]))
    names = ["task_instance_id", *(column.name for column in ROW_COLUMNS)]
    written = count_written(insert(HISTORY).from_select(names, tries), session)
    if written != len(chosen):
        raise RuntimeError(
            f"{written} tries were archived, and not {len(chosen)}: the rows are not as locked."
        )


@cache
def _tries() -> Select[Any]:
    return select(TaskInstance.id, *map(_as_archived, ROW_COLUMNS))


def _as_archived(column: Column[Any]) -> ColumnElement[Any]:
    """Return what ``TaskInstanceHistory(ti)`` stores in one of its columns, of a row of ``task_instance``."""
    if column.name == "task_display_name":
        # An empty one counts as none, which Airflow's own expression for it does not say.
        return func.coalesce(func.nullif(TaskInstance._task_display_property_value, ""), TaskInstance.task_id)
    value: ColumnElement[Any] = getattr(TaskInstance, column.name)
    if column.type.should_evaluate_none:
        # Without a type: in a database that Airflow 2 has made it is json where the model says jsonb.
        return func.coalesce(value, literal_column("'null'"))
    return value
