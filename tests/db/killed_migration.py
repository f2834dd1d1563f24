"""Kills a migration after one of its statements after the other, in forks of a process of its own.

Run by ``test_half_made_tables.py``, with the environment that names a database without Safe Clear's tables.
It prints, as JSON, what each kill left: the tables and the revision.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from airflow import settings
from sqlalchemy import event, inspect

from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.tables import metadata

KILLED = 9
WRITING = ("CREATE", "ALTER", "INSERT", "UPDATE", "DROP")


def migrate(kill_after: int) -> None:
    """Migrate in this process, which ends with that statement."""
    left = kill_after

    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal left
        left -= statement.split(maxsplit=1)[0] in WRITING
        if left == 0:
            os._exit(KILLED)

    event.listen(settings.engine, "after_cursor_execute", count)
    with settings.NonScopedSession() as session:
        SafeClearDBManager(session).upgradedb()


def migrate_in_fork(kill_after: int) -> bool:
    """Return whether the migration ended before that many statements."""
    settings.engine.dispose()
    child = os.fork()
    if child == 0:
        migrate(kill_after)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, KILLED)
    return ended == 0


def state() -> tuple[int, str | None]:
    """Return how many tables and columns of Safe Clear there are, and the revision."""
    with settings.NonScopedSession() as session:
        found = inspect(session.connection()).get_multi_columns()
        names = {table.name for table in metadata.sorted_tables}
        parts = sum(1 + len(columns) for (_, name), columns in found.items() if name in names)
        return parts, SafeClearDBManager(session).get_current_revision()


def kill_each(step: int) -> list[tuple[int, str | None]]:
    """Return the states that kills left, and at last that of a migration that nobody killed."""
    states = [state()]
    kill_after = 1
    while not migrate_in_fork(kill_after):
        states.append(state())
        kill_after += step
    return [*states, state()]


if __name__ == "__main__":
    first, between = sys.argv[1], int(sys.argv[2])
    fresh = kill_each(between)
    with settings.NonScopedSession() as manager_session:
        SafeClearDBManager(manager_session).downgrade(first)
    json.dump({"fresh": fresh, "upgrade": kill_each(between)}, sys.stdout)
