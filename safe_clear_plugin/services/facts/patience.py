"""How long a preview waits for what its findings are derived from."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited

P = ParamSpec("P")
T = TypeVar("T")


class Patience:
    """Asks one thing after the other within a budget; what is not answered in time is given up.

    A statement that is ended takes the whole transaction with it on PostgreSQL. So all is asked within a
    savepoint, and the plan's rows, written before, stay.
    """

    def __init__(self, budget: Budget, session: Session) -> None:
        self._budget, self._session = budget, session

    def __enter__(self) -> Patience:
        self._savepoint = self._session.begin_nested()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self._savepoint.commit()

    def keep(self) -> None:
        """Keep what has been written so far, whatever is given up later."""
        self._savepoint.commit()
        self._savepoint = self._session.begin_nested()

    def ask(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the answer, or ``None`` when it does not come in time.

        No question may take more than half of what is left, so that a slow one leaves time for the others.
        """
        try:
            with limited(Budget(self._budget.left / 2), self._session):
                return read(*args, **kwargs)
        except OutOfTime:
            self._savepoint.rollback()
            self._savepoint = self._session.begin_nested()
            return None
