"""The behaviour of one column in a clear and an undo; ``cleared_columns`` lists all columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, FromClause, Label

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.drift import DriftCode

Clear = TypeVar("Clear")
Value = ColumnElement[Any]


class Undo(Code):
    """The effect of an undo on a column."""

    RESTORE = "restore"
    """It gets the value from before the clear."""
    RESTORE_FINISHED = "restore_finished"
    """The same, if the dag run had finished; else the scheduler has gone on with it since."""
    RESTORE_WITH_RUN = "restore_with_run"
    """The same, but a run that goes on keeps a DAG version: the scheduler queues nothing without one."""
    KEEP = "keep"
    """It keeps the value that it has."""


@dataclass(frozen=True)
class ClearedColumn(Generic[Clear]):
    """One column of Airflow's."""

    name: str
    shown_as: str | None = None
    """The plan's column with the value that the preview found."""
    predicted_as: str | None = None
    """The plan's column with the value that the preview predicted."""
    predict: Callable[[Clear], Value] | None = None
    """The value for ``predicted_as``; ``None``: the value that the preview found stays."""
    drift: DriftCode | None = None
    """The reason to refuse where the row differs from ``shown_as``; ``None``: it may differ."""
    verify: bool = False
    """Whether the clear is rolled back if the column comes out otherwise than planned."""
    after: Callable[[FromClause, bool], Value] | None = None
    """What a row of the plan says of the column after the clear, given whether dag runs are reset.

    ``None``: what it has as ``predicted_as``."""
    is_new: bool = False
    """Whether the clear must leave another value than ``after``, be it which it may."""
    until_started: Callable[[Value, ColumnElement[bool]], Value] | None = None
    """The value that a task instance has until the scheduler or an executor takes it, given the value from
    before the clear and whether it was cleared."""
    undo: Undo = Undo.RESTORE
    verify_undo: bool = False
    """Whether the undo is rolled back if the column is not as before the clear."""

    @property
    def planned_name(self) -> str:
        """The column's name in the plan, which mismatches give."""
        return (self.predicted_as or self.name).removeprefix("after_")

    def predicted(self, found: FromClause, clear: Clear) -> Value:
        """Return the value after the clear, as SQL over the row of ``found`` before it."""
        return self.predict(clear) if self.predict else found.c[self.name]

    def has_drifted(self, planned: FromClause, live: FromClause) -> ColumnElement[bool]:
        """Whether a row differs from what the preview found."""
        return live.c[self.name].is_distinct_from(planned.c[self.shown_as or self.name])

    def expected(self, planned: FromClause, resets: bool) -> Value:
        """Return the value that a row of the plan says the clear leaves; see ``is_new``."""
        return self.after(planned, resets) if self.after else planned.c[self.predicted_as or self.name]

    def is_mismatch(self, planned: FromClause, live: FromClause, resets: bool) -> ColumnElement[bool]:
        """Whether a row came out of the clear otherwise than planned."""
        found, expected = live.c[self.name], self.expected(planned, resets)
        return found.is_not_distinct_from(expected) if self.is_new else found.is_distinct_from(expected)


def present(columns: Iterable[ClearedColumn[Clear]], table: FromClause) -> list[ClearedColumn[Clear]]:
    """Return the columns that the installed Airflow has."""
    return [column for column in columns if column.name in table.c]


def shown_and_predicted(
    columns: Iterable[ClearedColumn[Clear]], found: FromClause, clear: Clear
) -> Iterator[Label[Any]]:
    """Yield the plan's columns of a row: the values that the preview finds, and those that it predicts."""
    for column in columns:
        if column.shown_as:
            yield found.c[column.name].label(column.shown_as)
        if column.predicted_as:
            yield column.predicted(found, clear).label(column.predicted_as)
