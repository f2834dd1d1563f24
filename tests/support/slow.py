"""A query that does not come to an end by itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, literal, select, union_all


def endless() -> Select[Any]:
    """Count the rows of twenty tables of ten rows each, joined with each other."""
    ten = union_all(*(select(literal(number).label("n")) for number in range(10))).cte("ten")
    tables = [ten.alias(f"t{number}") for number in range(20)]
    source: Any = tables[0]
    for table in tables[1:]:
        source = source.join(table, table.c.n >= 0)
    return select(func.count()).select_from(source)
