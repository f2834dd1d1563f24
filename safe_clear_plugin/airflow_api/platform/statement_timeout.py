"""Reading and writing with a time limit, for answers that are better late than never only up to a point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, Select, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import database_errors

INSTRUCTIONS = 20_000
"""SQLite's instructions between two looks at the clock."""
SLACK = 2
"""A statement may have this many times the rest, so that not each of them is told a time of its own."""

_WATCH = "safe_clear_watch"
_SAVEPOINTS = ("SAVEPOINT", "ROLLBACK TO", "RELEASE")
_CONFIGURED = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"


class OutOfTime(Exception):
    """A budget is used up; the running statement has been ended."""


class Budget:
    """Time that several statements share; ``math.inf`` seconds never end."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds left, not below zero."""
        return max(0.0, self._ends - self._clock())

    def check(self) -> None:
        """Stop work in Python that sends no statements.

        :raises OutOfTime: when nothing is left
        """
        if not self.left:
            raise OutOfTime


@contextmanager
def limited(budget: Budget, session: Session) -> Iterator[None]:
    """Hold all that the session sends meanwhile to a budget; one within another holds for both.

    After :class:`OutOfTime` the transaction, or the savepoint within which this was called, must be rolled
    back.

    :raises OutOfTime: when it does not suffice
    """
    connection = session.connection()
    watch: _Watch = connection.info.get(_WATCH) or _Watch(connection)
    watch.add(budget)
    try:
        yield
    except BaseException as error:
        # The rollback to the savepoint takes back the timeout that was set since.
        watch.told = math.inf
        if isinstance(error, DBAPIError) and database_errors.kind_of(error) == "statement_timeout":
            raise OutOfTime from error
        raise
    else:
        watch.release()
    finally:
        watch.remove(budget)


class _Watch:
    """Looks at the clock before each statement of a connection, and while it is executed."""

    def __init__(self, connection: Connection) -> None:
        self.told = math.inf
        """The seconds that PostgreSQL now gives a statement because of us."""
        self._configured: int | None = None
        """The milliseconds that it gave before, by the deployment or another limit of the transaction."""
        self._connection = connection
        self._budgets: list[Budget] = []
        self._dialect = connection.dialect.name

    def add(self, budget: Budget) -> None:
        if not self._budgets:
            self._connection.info[_WATCH] = self
            event.listen(self._connection, "before_cursor_execute", self._before)
            if self._dialect == "sqlite":
                self._driver.set_progress_handler(lambda: not self._left, INSTRUCTIONS)
        self._budgets.append(budget)

    def remove(self, budget: Budget) -> None:
        self._budgets.remove(budget)
        if not self._budgets:
            del self._connection.info[_WATCH]
            event.remove(self._connection, "before_cursor_execute", self._before)
            if self._dialect == "sqlite":
                self._driver.set_progress_handler(None, 0)

    def release(self) -> None:
        """Let what comes next in the transaction have its own time again; within others, they tell it."""
        if len(self._budgets) == 1 and not math.isinf(self.told):
            self._tell(math.inf)

    @property
    def _driver(self) -> Any:
        return self._connection.connection.driver_connection

    @property
    def _left(self) -> float:
        return min((budget.left for budget in self._budgets), default=math.inf)

    def _before(self, _: Connection, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith(_SAVEPOINTS):
            return
        left = self._left
        if not left:
            raise OutOfTime
        if self._dialect == "postgresql" and not left <= self.told <= SLACK * left:
            self._tell(left)

    def _tell(self, seconds: float) -> None:
        # Not through SQLAlchemy, which would ask for the time again.
        with closing(self._connection.connection.cursor()) as cursor:
            if self._configured is None:
                cursor.execute(_CONFIGURED)
                ((setting,),) = cursor.fetchall()
                self._configured = int(setting)
            limits = [self._configured] if self._configured else []
            if not math.isinf(seconds):
                limits.append(max(1, math.ceil(seconds * 1000)))
            cursor.execute(f"SET LOCAL statement_timeout = {min(limits, default=0)}")
        self.told = seconds


def read(query: Select[Any], budget: Budget, session: Session) -> list[Any] | None:
    """Return the rows, or ``None`` when the budget does not suffice; the session is usable after that."""
    if not budget.left:
        return None
    try:
        with session.begin_nested(), limited(budget, session):
            return list(session.execute(query))
    except OutOfTime:
        return None
