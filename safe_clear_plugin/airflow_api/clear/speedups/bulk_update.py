"""Sends the UPDATEs of one flush together.

SQLAlchemy batches rows only as long as the same columns change in them, and a clear changes other columns of
a failed task instance than of a successful one. A column that changes in one row of the flush is therefore
written in all of them, with the value that it has there anyway. PostgreSQL takes longer to parse one
statement per row than to carry them out, so it gets a single UPDATE with arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.sqlalchemy import ExtendedJSON, UtcDateTime
from sqlalchemy import (
    Column,
    Float,
    Integer,
    String,
    Text,
    Uuid,
    column,
    event,
    func,
    inspect,
    literal,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstanceState, LoaderCallableStatus, Mapper, Session
from sqlalchemy.orm.attributes import flag_modified

from safe_clear_plugin.airflow_api.platform.session import count_written

EXACT_TYPES = (Float, Integer, String, Uuid, UtcDateTime)
"""What reads back as it was written; in a JSON column a NULL and a stored null both read as ``None``."""

AGGREGATES = "sqlalchemy_utils.aggregates"


@contextmanager
def update_in_bulk(session: Session, *, read_on: bool) -> Iterator[None]:
    """Send the rows flushed within together; ``read_on`` when Airflow reads the objects again after one."""
    write = _even_out if read_on or session.get_bind().dialect.name != "postgresql" else _write_at_once
    event.listen(session, "before_flush", write)
    try:
        yield
    finally:
        event.remove(session, "before_flush", write)


def _even_out(session: Session, *_: Any) -> None:
    for model in (TaskInstance, DagRun):
        changes = [(row, _changed(row)) for row in session.dirty if type(row) is model]
        everywhere = frozenset().union(*(changed for _, changed in changes))
        for row, changed in changes:
            if changed:
                for name in everywhere - changed - inspect(row).unloaded:
                    flag_modified(row, name)


def _changed(row: Any) -> frozenset[str]:
    state = inspect(row)
    columns = _even_columns(state.mapper)
    return frozenset(name for name in state.committed_state if name in columns and _differs(state, name))


def _differs(state: InstanceState[Any], name: str) -> bool:
    old, new = state.committed_state[name], state.dict.get(name)
    if new is old or name not in state.mapper.column_attrs:
        return new is not old
    kind = state.mapper.column_attrs[name].columns[0].type
    # The type compares, as at a flush: the pods of an old executor_config cannot be compared.
    return isinstance(old, LoaderCallableStatus) or not kind.compare_values(old, new)


@cache
def _even_columns(mapper: Mapper[Any]) -> frozenset[str]:
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if isinstance(attribute.columns[0].type, EXACT_TYPES) and not attribute.columns[0].onupdate
    )


def _write_at_once(session: Session, *_: Any) -> None:
    """Write the task instances that can be written so; the other ones are evened out."""
    if not _is_listened_to(session):
        states = [inspect(row) for row in session.dirty if type(row) is TaskInstance]
        changes = [(state, changed) for state in states if (changed := _changes(state))]
        names = sorted(frozenset().union(*(changed for _, changed in changes)))
        chosen = [state for state, _ in changes if all(_is_there(state, name) for name in names)]
        if chosen:
            _update(chosen, names, session)
    _even_out(session)


def _is_listened_to(session: Session) -> bool:
    """Whether somebody hears of each object that a flush writes, or asks it afterwards what was written."""
    dispatch = inspect(TaskInstance).dispatch
    # The one that comes with FAB looks for aggregated columns; Airflow has none.
    asks = any(getattr(one, "__module__", "") != AGGREGATES for one in session.dispatch.after_flush)
    return asks or bool(dispatch.before_update or dispatch.after_update)


def _changes(state: InstanceState[Any]) -> frozenset[str]:
    """Return the names of what changes in a row, or none when a change is not for a plain statement."""
    changed = frozenset(name for name in state.committed_state if _differs(state, name))
    return changed if changed <= _plain_columns().keys() else frozenset()


def _is_there(state: InstanceState[Any], name: str) -> bool:
    # SQLAlchemy writes a None in a JSON column as a null, an array has a NULL for it.
    return name in state.dict and (name in _even_columns(state.mapper) or state.dict[name] is not None)


@cache
def _plain_columns() -> dict[str, Column[Any]]:
    mapper = inspect(TaskInstance)
    even = _even_columns(mapper)
    columns = {attribute.key: attribute.columns[0] for attribute in mapper.column_attrs}
    return {name: one for name, one in columns.items() if name in even or isinstance(one.type, ExtendedJSON)}


def _update(states: Sequence[InstanceState[Any]], names: Sequence[str], session: Session) -> None:
    table = TaskInstance.__table__
    columns = [_plain_columns()[name] for name in names]
    was = [state.committed_state.get("id", state.dict["id"]) for state in states]
    arrays = [literal(was, ARRAY(table.c.id.type))]
    places = [column("was", table.c.id.type)]
    for name, one in zip(names, columns, strict=True):
        # A cast to a length would cut longer values without a word.
        kind = Text() if isinstance(one.type, String) else one.type
        arrays.append(literal([state.dict[name] for state in states], ARRAY(kind)))
        places.append(column(f"new_{one.name}", kind))
    new = func.unnest(*arrays).table_valued(*places, name="new").render_derived()
    written = count_written(
        update(table)
        .where(table.c.id == new.c.was)
        .values({one.name: new.c[f"new_{one.name}"] for one in columns}),
        session,
    )
    if written != len(states):
        raise RuntimeError(f"{written} task instances were written, and not {len(states)}.")
    # As at the end of a flush, so that nothing is left of them for this one to look at.
    InstanceState._commit_all_states([(state, state.dict) for state in states], session.identity_map)
