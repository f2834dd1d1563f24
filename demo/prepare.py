"""Makes the metadata DB, users, DAGs and history, in one process because importing Airflow is slow.

Each step finds out by itself whether it was done before, so a second start changes nothing.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone

from environment import DATABASE, USERS_STEP


def main() -> None:
    """Do what is missing, and print what each step took."""
    from airflow.cli import cli_parser

    def airflow_command(*words: str) -> None:
        args = cli_parser.get_parser().parse_args(words)
        args.func(args)

    _use_write_ahead_log()
    _step("metadata DB migrated", lambda: airflow_command("db", "migrate"))
    from users import create_users

    _step(USERS_STEP, create_users)
    if not _has_dag_runs():
        _step("DAGs loaded", lambda: airflow_command("dags", "reserialize"))
        _step("history written", _write_history)


def _use_write_ahead_log() -> None:
    """Let readers and the writer of the SQLite file work side by side; the file remembers it."""
    with closing(sqlite3.connect(DATABASE)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _has_dag_runs() -> bool:
    with closing(sqlite3.connect(DATABASE)) as connection:
        return connection.execute("SELECT 1 FROM dag_run LIMIT 1").fetchone() is not None


def _write_history() -> int:
    from airflow.utils.session import create_session
    from history import History

    with create_session() as session:
        return History(session, datetime.now(timezone.utc)).write()


def _step(name: str, function: Callable[[], object]) -> object:
    started = time.monotonic()
    result = function()
    print(f"demo: {name} in {time.monotonic() - started:.1f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
