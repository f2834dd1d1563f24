"""Many keys of task instances as rows of a query: a list of tuples is too deep for PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, JSON, column, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from safe_clear_plugin.core.selection import TaskInstanceKey


class _items_of(GenericFunction[Any]):  # noqa: N801 (the name of an SQL function)
    """The items of a JSON list as rows, one column ``value``."""

    name = "json_each"
    inherit_cache = True


@compiles(_items_of, "postgresql")
def _items_on_postgresql(function: Any, compiler: Any, **options: Any) -> str:
    (text,) = function.clauses
    return f"json_array_elements(CAST({compiler.process(text, **options)} AS JSON))"


def rows_of_keys(keys: Sequence[TaskInstanceKey]) -> CTE:
    """Return a table of task_id, map_index, run_id; one parameter of the statement, however many they are."""
    value = column("value", JSON)
    items = _items_of(literal(json.dumps(keys, ensure_ascii=False))).table_valued(
        value, name="excluded_items"
    )
    item = items.c.value
    return select(
        item[0].as_string().label("task_id"),
        item[1].as_integer().label("map_index"),
        item[2].as_string().label("run_id"),
    ).cte("excluded_keys")
