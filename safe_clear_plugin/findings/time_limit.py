"""The time limit of a preview's findings."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited

T = TypeVar("T")


class TimeLimit:
    """Runs one query after the other within a budget, and gives up each that takes too long.

    PostgreSQL rolls back the whole transaction with a statement that it ends. So the queries run within a
    savepoint, and the plan's rows, which were written before, stay.
    """

    def __init__(self, budget: Budget, session: Session) -> None:
        self._budget, self._session = budget, session

    def __enter__(self) -> TimeLimit:
        self._savepoint = self._session.begin_nested()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self._savepoint.commit()

    def keep_writes(self) -> None:
        """Keep the rows written so far, whatever is given up later."""
        self._savepoint.commit()
        self._savepoint = self._session.begin_nested()

    def ask(self, read: Callable[[], T]) -> T | None:
        """Return the answer, or ``None`` when it does not come in time.

        A question may take half of the time left, so that a slow one leaves time for the others.
        """
        try:
            with limited(Budget(self._budget.left / 2), self._session):
                return read()
        except OutOfTime:
            self._savepoint.rollback()
            self._savepoint = self._session.begin_nested()
            return None
