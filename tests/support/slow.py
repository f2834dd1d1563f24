"""A query that does not come to an end by itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, literal, select, union_all
from sqlalchemy.orm import Session


def endless(session: Session) -> Select[Any]:
    """Return a query that sleeps; SQLite has none, so there it counts the rows of many joined tables."""
    if session.get_bind().dialect.name == "postgresql":
        return select(func.count(func.pg_sleep(3_600)))
    ten = union_all(*(select(literal(number).label("n")) for number in range(10))).cte("ten")
    tables = [ten.alias(f"t{number}") for number in range(20)]
    source: Any = tables[0]
    for table in tables[1:]:
        source = source.join(table, table.c.n >= 0)
    return select(func.count()).select_from(source)
