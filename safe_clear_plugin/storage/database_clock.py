"""The database's time, in SQL: the clocks of several api-servers differ, and the database has one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime


class database_time(FunctionElement[Any]):  # noqa: N801
    """The moment at which the statement began, and ``seconds`` after it.

    It is the same for each row of a statement, so that PostgreSQL looks it up in an index.
    """

    name = "database_time"
    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float = 0) -> None:
        super().__init__(literal(float(seconds), Float()))


@compiles(database_time)
def _postgresql(element: database_time, compiler: Any, **options: Any) -> str:
    return f"(statement_timestamp() + {compiler.process(element.clauses, **options)} * interval '1 second')"


@compiles(database_time, "sqlite")
def _sqlite(element: database_time, compiler: Any, **options: Any) -> str:
    # As SQLAlchemy stores a moment: microseconds; SQLite knows only their first three digits.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {seconds})) || '000')"
