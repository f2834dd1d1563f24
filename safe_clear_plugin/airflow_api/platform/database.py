"""The databases that Safe Clear supports, and the one that Airflow runs on here."""

from __future__ import annotations

import logging

from safe_clear_plugin.airflow_api.platform.airflow_tables import engine
from safe_clear_plugin.core.problems import Problem

log = logging.getLogger(__name__)

CODE = "unsupported_database"
"""The code of the refusal, for programs."""
SUPPORTED = ("postgresql", "sqlite")
_NAMES = {"mysql": "MySQL", "mssql": "Microsoft SQL Server", "oracle": "Oracle"}


def dialect_name() -> str:
    """Return SQLAlchemy's name of what the metadata DB speaks."""
    return str(engine().dialect.name)


def find_unsupported_database() -> Problem | None:
    """Return what to say on a metadata DB that Safe Clear makes no tables on; nothing on a supported one."""
    if dialect_name() in SUPPORTED:
        return None
    return Problem(
        f"Airflow runs on {_database_name()} here, and Safe Clear needs PostgreSQL or SQLite.",
        "Move the metadata database to PostgreSQL, or use Airflow's own clear.",
    )


def warn_if_unsupported() -> bool:
    """Whether no tables are made on this metadata DB; if so, the log says why."""
    problem = find_unsupported_database()
    if problem:
        log.warning("Safe Clear makes no tables: %s", problem.reason)
    return problem is not None


def _database_name() -> str:
    dialect = engine().dialect
    if dialect.server_version_info is None:
        # MariaDB speaks MySQL's dialect, and SQLAlchemy tells them apart when it connects first.
        engine().connect().close()
    if getattr(dialect, "is_mariadb", False):
        return "MariaDB"
    return _NAMES.get(dialect_name(), dialect_name())
