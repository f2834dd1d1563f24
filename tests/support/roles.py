"""Other roles of the metadata database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow import settings
from sqlalchemy import event


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
