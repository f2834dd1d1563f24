"""Other roles of the metadata database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow import settings
from sqlalchemy import event, text
from sqlalchemy.orm import Session


@contextmanager
def role_without_tables(role: str, session: Session) -> Iterator[None]:
    """Create a role that may read and write all tables and owns none, so that it can analyze none."""
    for statement in (
        f"CREATE ROLE {role}",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ):
        session.execute(text(statement))
    session.commit()
    try:
        yield
    finally:
        session.rollback()
        session.execute(text(f"DROP OWNED BY {role}"))
        session.execute(text(f"DROP ROLE {role}"))
        session.commit()


@contextmanager
def acting_as(role: str) -> Iterator[None]:
    """Give each new connection to the role, which is what the privileges are checked for."""

    def become(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
        connection.commit()

    settings.engine.dispose()
    event.listen(settings.engine, "connect", become)
    try:
        yield
    finally:
        event.remove(settings.engine, "connect", become)
        settings.engine.dispose()
