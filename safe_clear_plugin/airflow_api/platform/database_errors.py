"""The kind of failure that an error of the metadata DB is, for any driver."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

DatabaseFailure = Literal[
    "database_unreachable",
    "database_busy",
    "statement_timeout",
    "tables_outdated",
    "database_forbidden",
    "database_read_only",
    "database_full",
    "database_error",
]

CANCELLED = "57014"
"""PostgreSQL's code of a statement that took longer than ``statement_timeout``."""

# SQLSTATEs of PostgreSQL, the whole code or its class, the first that fits.
_BY_CODE: tuple[tuple[str, DatabaseFailure], ...] = (
    (CANCELLED, "statement_timeout"),
    ("55P03", "database_busy"),  # lock_not_available
    ("40", "database_busy"),  # deadlock, serialization failure
    ("57P", "database_unreachable"),  # shut down, starting up
    ("08", "database_unreachable"),  # connection failures
    ("28", "database_unreachable"),  # it lets nobody in
    ("3D", "database_unreachable"),  # no such database
    ("53300", "database_unreachable"),  # too many connections
    ("42P01", "tables_outdated"),  # undefined table
    ("42703", "tables_outdated"),  # undefined column
    ("42501", "database_forbidden"),  # insufficient privilege
    ("25006", "database_read_only"),
    ("53", "database_full"),  # disk full, out of memory
)
# SQLite tells its errors by their texts alone on Python 3.10.
_BY_SQLITE_TEXT: tuple[tuple[str, DatabaseFailure], ...] = (
    ("interrupted", "statement_timeout"),
    ("is locked", "database_busy"),
    ("unable to open database", "database_unreachable"),
    ("not a database", "database_unreachable"),
    ("no such table", "tables_outdated"),
    ("no such column", "tables_outdated"),
    ("has no column", "tables_outdated"),
    ("readonly database", "database_read_only"),
    ("is full", "database_full"),
)


def kind_of(error: SQLAlchemyError) -> DatabaseFailure:
    """Return what kind of failure it is."""
    if isinstance(error, PoolTimeout):
        return "database_busy"
    if not isinstance(error, DBAPIError):
        return "database_error"
    code = code_of(error.orig)
    if code is None and (error.connection_invalidated or _never_got_through(error)):
        return "database_unreachable"
    text = "" if code else str(error.orig)
    found = (kind for start, kind in _BY_CODE if code and code.startswith(start))
    told = (kind for part, kind in _BY_SQLITE_TEXT if part in text)
    return next(found, next(told, "database_error"))


def code_of(error: object) -> str | None:
    """Return PostgreSQL's SQLSTATE of a driver's error: psycopg 3 and psycopg2 name it differently."""
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return str(code) if code else None


def _never_got_through(error: DBAPIError) -> bool:
    """Whether a PostgreSQL driver failed without an answer of the server, which has a code for each error."""
    module = type(error.orig).__module__
    return module.startswith("psycopg") and type(error.orig).__name__ == "OperationalError"
