"""Time limits for a transaction that holds the scheduler's lock: per statement, in total, and while idle.

PostgreSQL keeps them, for the transaction alone (``SET LOCAL``), so a pooler may share its connections.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, event, text

STATEMENT_SECONDS = 10.0
"""For one statement. A batch should take half a second; a statement that takes twenty times that has a bad
query plan or waits for others, and no scheduler queues anything meanwhile."""
TRANSACTION_SECONDS = 20.0
"""For all of them, from the lock on: statements get only the rest of it, each at least a millisecond."""
IDLE_SECONDS = 60.0
"""Between two statements. An api-server that is gone without a word would hold the lock for hours; one that
is alive needs a few seconds at most."""

LOWER = text(
    "SELECT setting AS before, least(nullif(setting::bigint, 0), :most) AS now, "
    "set_config(name, least(nullif(setting::bigint, 0), :most)::text, true) "
    "FROM pg_settings WHERE name = :name"
)


def limit_transaction(connection: Connection) -> None:
    """Limit the rest of a PostgreSQL transaction, which has just taken the scheduler's lock.

    What the deployment limits more strictly stays as it is.
    """
    lower_timeout("idle_in_transaction_session_timeout", IDLE_SECONDS, connection)
    _, limit = lower_timeout("statement_timeout", STATEMENT_SECONDS, connection)
    # The listener ends with this object, which SQLAlchemy gives to one transaction of a session.
    event.listen(connection, "before_cursor_execute", _Remainder(limit).before_statement)


def lower_timeout(name: str, seconds: float, connection: Connection) -> tuple[int, int]:
    """Set a timeout of PostgreSQL until the transaction ends, unless a shorter one is set.

    Returns the milliseconds before, 0 for none, and those from now on.
    """
    milliseconds = {"name": name, "most": max(1, int(seconds * 1000))}
    row = connection.execute(LOWER, milliseconds).one()
    return int(row.before), int(row.now)


class _Remainder:
    """The rest of a transaction's time, given to each of its statements."""

    def __init__(self, limit: int) -> None:
        self._ends = time.monotonic() + TRANSACTION_SECONDS
        self._limit = limit
        self._lowering = False

    def before_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        """Lower the timeout where less is left than a statement may take."""
        left = max(1, int((self._ends - time.monotonic()) * 1000))
        # After an error PostgreSQL takes nothing but the way back to a savepoint.
        if self._lowering or left >= self._limit or statement.startswith("ROLLBACK"):
            return
        self._lowering = True
        try:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {left}")
        finally:
            self._lowering = False
        self._limit = left
