"""The time limit of a preview's findings."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session

from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited

T = TypeVar("T")


class TimeLimit:
    """Runs one query after the other within a budget, and gives up each that takes too long.

    PostgreSQL rolls back the whole transaction with a statement that it ends. So the queries run within a
    savepoint, and the plan's rows, which were written before, stay.
    """

    def __init__(self, budget: Budget, session: Session) -> None:
        self._budget, self._session = budget, session
        self._has_written = False

    def __enter__(self) -> TimeLimit:
        self._begin()
        event.listen(self._session, "do_orm_execute", self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        event.remove(self._session, "do_orm_execute", self._note)
        if kind is None:
            self._savepoint.commit()

    def _note(self, state: ORMExecuteState) -> None:
        self._has_written = self._has_written or state.is_insert or state.is_update or state.is_delete

    def keep_writes(self) -> None:
        """Keep the rows written so far, even if later ones are given up."""
        if self._has_written:
            self._savepoint.commit()
            self._begin()

    def _begin(self) -> None:
        self._savepoint = self._session.begin_nested()
        self._has_written = False

    def ask(self, read: Callable[[], T]) -> T | None:
        """Return the answer, or ``None`` when it does not come in time.

        A question may take half of the time left, so that a slow one leaves time for the others.
        """
        try:
            with limited(Budget(self._budget.left / 2), self._session):
                return read()
        except OutOfTime:
            self._savepoint.rollback()
            self._begin()
            return None
