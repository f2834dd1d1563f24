"""Preview, clear and undo with the environment's Airflow, and say what that left in the connections.

Run as a process of its own: Airflow's engine belongs to the process.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow import settings
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.storage.plans.plan_reader import tables_exist
from safe_clear_plugin.storage.table_setup import set_up_tables
from tests.db.acting import clear, days, plan_of, undo
from tests.db.undo_oracle import everything
from tests.support.pgbouncer import POOL
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots

RUNS = 28
# What lasts beyond a transaction, and so goes to whoever gets the connection next.
LASTING = re.compile(
    r"pg_(try_)?advisory_(lock|unlock)|^\s*SET\s+(?!LOCAL|CONSTRAINTS|TRANSACTION)|^\s*(UN)?LISTEN\b"
    r"|CREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP|^\s*PREPARE\b|^\s*DECLARE\b.*WITH\s+HOLD",
    re.IGNORECASE,
)
LOCAL = ", true)"
"""How a statement ends a ``set_config`` that the end of the transaction takes back."""
SLEEP = select(func.pg_sleep(20))
# pgbouncer gives each client its own value of these.
FOLLOWED = ("client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name")


@contextmanager
def watching() -> Iterator[dict[str, Any]]:
    """Collect what is sent, and which of PostgreSQL's processes each of our connections talks to."""
    statements: set[str] = set()
    processes: defaultdict[int, set[int]] = defaultdict(set)

    def began(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        processes[id(driver)].add(pid)

    def sent(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.add(statement)

    event.listen(settings.engine, "before_cursor_execute", sent)
    event.listen(settings.engine, "begin", began)
    found: dict[str, Any] = {}
    try:
        yield found
    finally:
        event.remove(settings.engine, "begin", began)
        event.remove(settings.engine, "before_cursor_execute", sent)
        found["most_processes"] = max(map(len, processes.values()))
        found["statements"] = len(statements)
        found["lasting"] = sorted(filter(lasts, statements))


def lasts(statement: str) -> bool:
    """Whether a statement changes more of a connection than its transaction."""
    return bool(LASTING.search(statement)) or statement.count("set_config(") > statement.count(LOCAL)


def left_behind() -> dict[str, Any]:
    """Return what is left in PostgreSQL's processes once no transaction is open."""
    changed: set[str] = set()
    prepared: set[str] = set()
    seen: set[int] = set()
    for _ in range(4 * POOL):
        with settings.engine.connect() as connection:
            seen.add(connection.scalar(select(func.pg_backend_pid())) or 0)
            changed |= set(
                connection.scalars(text("SELECT name FROM pg_settings WHERE source = 'session'"))
            ) - set(FOLLOWED)
            prepared |= set(connection.scalars(text("SELECT statement FROM pg_prepared_statements")))
    with settings.engine.connect() as connection:
        locks = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        temporary = connection.scalar(text("SELECT count(*) FROM pg_class WHERE relpersistence = 't'"))
    return {
        "processes": len(seen),
        "settings": sorted(changed),
        "prepared": len(prepared),
        "advisory_locks": locks,
        "temporary_tables": temporary,
    }


def read_too_long(session: Session) -> bool:
    """Return whether a statement that takes too long is cancelled by its time limit, after one in time."""
    in_time = statement_timeout.read(select(func.pg_sleep(0)), statement_timeout.Budget(30), session)
    return (
        in_time is not None and statement_timeout.read(SLEEP, statement_timeout.Budget(0.3), session) is None
    )


def act() -> dict[str, Any]:
    """Make the tables, then preview, clear and undo."""
    set_up_tables()
    with settings.NonScopedSession() as session:
        made = tables_exist(session)
        store_etl(session, runs=RUNS)
        before = everything(session)
        with watching() as watched:
            plan = plan_of(days(1, RUNS))
            cleared = clear(plan)
            after = everything(session)
            undone = undo(cleared)
            with new_session() as own:
                cancelled = read_too_long(own)
        return {
            "tables_made": made,
            "task_instances": plan.task_instances,
            "batches": cleared.batches,
            "cleared": cleared.cleared,
            "tables_changed": sorted(diff_snapshots(before, after)),
            "put_back": undone.put_back,
            "not_put_back": diff_snapshots(before, everything(session)),
            "cancelled": cancelled,
            "watched": watched,
        }


if __name__ == "__main__":
    print("result", json.dumps({**act(), "left": left_behind()}, default=str))
