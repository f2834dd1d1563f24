"""Whether Safe Clear can work here: the metadata DB, its own tables, and the Airflow that is installed."""

from __future__ import annotations

import threading

from safe_clear_plugin.airflow_api.platform import compatibility, config, database
from safe_clear_plugin.airflow_api.platform.compatibility import Unsupported
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.table_setup import set_up_tables

UNSUPPORTED_AIRFLOW = compatibility.CODE

__all__ = [
    "UNSUPPORTED_AIRFLOW",
    "Unsupported",
    "find_unsupported",
    "forget",
    "require_known_tables",
    "require_own_tables",
]

find_unsupported = compatibility.find_unsupported
require_known_tables = compatibility.require_known_tables

_own_tables_seen = threading.Event()


def require_own_tables() -> None:
    """Refuse to work without Safe Clear's tables; the option ``create_tables`` makes them first.

    Asks the database until it has seen them once.

    :raises Refused: 503 where they are not there, or the database is one that Safe Clear does not work on
    """
    if _own_tables_seen.is_set():
        return
    if problem := database.find_unsupported_database():
        raise Refused(503, problem, {"code": database.CODE})
    if config.create_tables():
        set_up_tables()
    with new_session() as session:
        if not plan_reader.tables_exist(session):
            raise Refused(
                503,
                Problem(
                    "Safe Clear's tables are missing in the metadata database.",
                    "Run `airflow db migrate`. If that can't run with Safe Clear installed, set "
                    "`[safe_clear] create_tables`.",
                ),
            )
    _own_tables_seen.set()


def forget() -> None:
    """Ask for everything again, as a new process does."""
    _own_tables_seen.clear()
    compatibility.forget()
