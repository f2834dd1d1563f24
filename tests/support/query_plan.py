"""What PostgreSQL really did for each statement: auto_explain sends its plans along."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow import settings
from sqlalchemy import Engine, event, text

SETTINGS = {
    "log_min_duration": "0",
    "log_analyze": "on",
    "log_timing": "off",
    "log_format": "json",
    "log_level": "notice",
    "log_nested_statements": "off",
}


class Notices:
    """Collects the plans from a connection's notices, whichever driver made it."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found = found

    def listen(self, connection: Any) -> None:
        """Take the connection's notices from now on."""
        if hasattr(connection, "add_notice_handler"):
            connection.add_notice_handler(lambda notice: self.append(notice.message_primary))
        else:
            # psycopg2 appends to a list, which SQLAlchemy empties after each statement.
            connection.notices = self

    def append(self, notice: str) -> None:
        """Keep the plan that a notice holds, if it holds one."""
        start = notice.find("{")
        if "plan:" in notice and start >= 0:
            self._found.append(json.loads(notice[start:]))


@contextmanager
def explaining(engine: Engine) -> Iterator[list[dict[str, Any]]]:
    """Collect statement and plan of everything that is executed within; the pool's connections are new."""
    found: list[dict[str, Any]] = []

    def prepare(connection: Any, *_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("LOAD 'auto_explain'")
            for name, value in SETTINGS.items():
                cursor.execute(f"SET auto_explain.{name} = {value}")
            cursor.execute("SET client_min_messages = notice")
        connection.commit()
        Notices(found).listen(connection)

    engine.dispose()
    event.listen(engine, "connect", prepare)
    try:
        yield found
    finally:
        event.remove(engine, "connect", prepare)
        engine.dispose()


def empty_pages_and_statistics() -> None:
    """Give back the pages of deleted rows, and forget what PostgreSQL knew of them.

    Otherwise it plans by the sizes that the tables had in earlier tests.
    """
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (FULL)"))
        connection.execute(text("DELETE FROM pg_statistic WHERE starelid >= 16384"))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_read(node: dict[str, Any]) -> float:
    """Return how many rows a scan looked at, those that it threw away with them."""
    thrown = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    each = node["Actual Rows"] + sum(node.get(name, 0) for name in thrown)
    return float(each * node["Actual Loops"])


def summarize(node: dict[str, Any]) -> str:
    """Say what a node reads, and how."""
    names = (
        "Node Type",
        "Relation Name",
        "Index Name",
        "Index Cond",
        "Filter",
        "Join Filter",
        "Actual Loops",
    )
    return ", ".join(f"{name}: {node[name]}" for name in (*names, "Plan Rows", "Total Cost") if name in node)


def work(plan: dict[str, Any]) -> float:
    """Return how many rows a plan's nodes went through, all together."""
    return sum(rows_read(node) for node in nodes(plan))
