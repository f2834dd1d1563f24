"""Sessions on the metadata DB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.utils.session import create_session
from sqlalchemy import Delete, Insert, Update, text
from sqlalchemy.orm import Session


@contextmanager
def new_session() -> Iterator[Session]:
    """Open a session of its own: commits at the end, rolls back on an error.

    Not Airflow's thread-scoped one, so that its objects never mix with those of another plugin
    on the same server thread.
    """
    with create_session(scoped=False) as session:
        yield session


def count_written(statement: Insert | Update | Delete, session: Session) -> int:
    """Execute ``statement`` and return the number of rows that it wrote.

    psycopg 3 gives that number for an ``INSERT … SELECT`` only if SQLAlchemy is told to keep it, and Python's
    driver of SQLite never for one that begins with ``WITH``.
    """
    kept = statement.execution_options(preserve_rowcount=True)
    count: int = session.execute(kept).rowcount  # type: ignore[attr-defined]
    if count < 0 and session.get_bind().dialect.name == "sqlite":
        count = session.scalar(text("SELECT changes()"))
    if count < 0:
        raise RuntimeError("The database driver does not say how many rows it wrote.")
    return count
