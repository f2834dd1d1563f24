"""Sessions on the metadata DB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.utils.session import create_session
from sqlalchemy.orm import Session


@contextmanager
def new_session() -> Iterator[Session]:
    """Open a session of its own: commits at the end, rolls back on an error.

    Not Airflow's thread-scoped one, so that its objects never mix with those of another plugin
    on the same server thread.
    """
    with create_session(scoped=False) as session:
        yield session
