"""Many keys as rows of a query: a list of tuples is too deep for PostgreSQL, a long OR for SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import CTE, JSON, Uuid, cast, column, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from safe_clear_plugin.core.keys import TaskInstanceKey

ALTERNATIVES = 200
"""SQLite reads an ``OR`` of a thousand conditions as too deep an expression."""

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)


class _items_of(GenericFunction[Any]):  # noqa: N801 (the name of an SQL function)
    """The items of a JSON list as rows, one column ``value``."""

    name = "json_each"
    inherit_cache = True


@compiles(_items_of, "postgresql")
def _items_on_postgresql(function: Any, compiler: Any, **options: Any) -> str:
    (text,) = function.clauses
    return f"json_array_elements(CAST({compiler.process(text, **options)} AS JSON))"


def by_value(values: Mapping[UUID, V]) -> list[tuple[V, list[UUID]]]:
    """Return each value with the keys that have it: most of many have the same."""
    found: dict[V, list[UUID]] = {}
    for key, value in values.items():
        found.setdefault(value, []).append(key)
    return list(found.items())


def in_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield as many of the items at a time as a statement has room for alternatives."""
    for start in range(0, len(items), ALTERNATIVES):
        yield items[start : start + ALTERNATIVES]


def rows_of_keys(keys: Sequence[TaskInstanceKey], name: str = "excluded") -> CTE:
    """Return a table of task_id, map_index, run_id; one parameter of the statement, however many they are."""
    item = _items([key.to_json() for key in keys], f"{name}_items")
    rows = select(
        item[0].as_string().label("task_id"),
        item[1].as_integer().label("map_index"),
        item[2].as_string().label("run_id"),
    )
    return _taken_apart_once(rows.cte(f"{name}_keys"))


def rows_of_versions(versions: Iterable[tuple[UUID, int, str]]) -> CTE:
    """Return a table of id, number and text of DAG versions; one parameter of the statement, as well."""
    item = _items([(id_.hex, number, text) for id_, number, text in versions], "version_items")
    rows = select(
        cast(item[0].as_string(), Uuid()).label("id"),
        item[1].as_integer().label("number"),
        item[2].as_string().label("text"),
    )
    return _taken_apart_once(rows.cte("versions_given"))


def rows_of_tasks(tasks: Iterable[tuple[str, int, int]], name: str) -> CTE:
    """Return a table of task_id, number and retries; one parameter of the statement, as well."""
    item = _items(list(tasks), f"{name}_items")
    rows = select(
        item[0].as_string().label("task_id"),
        item[1].as_integer().label("number"),
        item[2].as_integer().label("retries"),
    )
    return _taken_apart_once(rows.cte(name))


def _taken_apart_once(rows: CTE) -> CTE:
    """Keep the database from taking the items apart again for each row that it joins."""
    rows = rows.prefix_with("MATERIALIZED", dialect="postgresql")
    if sqlite3.sqlite_version_info >= (3, 35):
        rows = rows.prefix_with("MATERIALIZED", dialect="sqlite")
    return rows


def _items(keys: Sequence[Any], name: str) -> Any:
    items = _items_of(literal(json.dumps(keys, ensure_ascii=False)))
    return items.table_valued(column("value", JSON), name=name).c.value
