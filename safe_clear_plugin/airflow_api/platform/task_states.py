"""Conditions on the state of a task instance."""

from __future__ import annotations

from typing import Any

from airflow.utils.state import State
from sqlalchemy import ColumnElement, func


def is_unfinished(state: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a task instance's state is unfinished, no state included.

    Written so that no index on states serves: callers know the dag runs, and just after a clear PostgreSQL
    underestimates how many task instances of the whole table have no state.
    """
    return func.coalesce(state, "").in_(["", *(str(value.value) for value in State.unfinished if value)])
