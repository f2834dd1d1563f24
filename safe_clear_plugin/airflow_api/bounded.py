"""Reading with a time limit, for answers that are better late than never only up to a point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import database_errors, lock_limits

INSTRUCTIONS = 20_000
"""SQLite's instructions between two looks at the clock."""


class Budget:
    """Time that several statements share."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds left, not below zero."""
        return max(0.0, self._ends - self._clock())


def read(query: Select[Any], budget: Budget, session: Session) -> list[Any] | None:
    """Return the rows, or ``None`` when the budget does not suffice; the session is usable after that."""
    if not budget.left:
        return None
    try:
        with session.begin_nested(), _limit(budget, session):
            return list(session.execute(query))
    except DBAPIError as error:
        if database_errors.kind_of(error) != "statement_timeout":
            raise
        return None


@contextmanager
def _limit(budget: Budget, session: Session) -> Iterator[None]:
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        before, _ = lock_limits.lower("statement_timeout", budget.left, connection)
        yield
        # After an error the savepoint brings it back.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {before}")
    elif connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: not budget.left, INSTRUCTIONS)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
    else:
        yield
