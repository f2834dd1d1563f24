"""What a session sends to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event


@contextmanager
def statements(session: Any) -> Iterator[list[str]]:
    """Collect what goes to the database."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@contextmanager
def bound_parameters(session: Any) -> Iterator[list[int]]:
    """Collect the number of values that each statement binds."""
    numbers: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        numbers.append(max(map(len, parameters)) if many else len(parameters))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield numbers
    finally:
        event.remove(engine, "before_cursor_execute", note)
