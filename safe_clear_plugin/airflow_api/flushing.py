"""Lets the UPDATEs of one flush go out together.

SQLAlchemy sends rows in one go only as long as the same columns change in them, and a clear changes other
columns of a failed task instance than of a successful one. A column that changes in one row of the flush is
written in all of them, to the value that it has there anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import Float, Integer, String, Uuid, event, inspect
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.attributes import flag_modified

EXACT_TYPES = (Float, Integer, String, Uuid, UtcDateTime)
"""What reads back as it was written; in a JSON column a NULL and a stored null both read as ``None``."""


@contextmanager
def writing_together(session: Session) -> Iterator[None]:
    """Even out the columns of what is flushed within."""
    event.listen(session, "before_flush", _even_out)
    try:
        yield
    finally:
        event.remove(session, "before_flush", _even_out)


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
    columns, values = _even_columns(state.mapper), state.dict
    return frozenset(
        name
        for name, old in state.committed_state.items()
        if name in columns and (values.get(name) is not old and values.get(name) != old)
    )


@cache
def _even_columns(mapper: Mapper[Any]) -> frozenset[str]:
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if isinstance(attribute.columns[0].type, EXACT_TYPES) and not attribute.columns[0].onupdate
    )
