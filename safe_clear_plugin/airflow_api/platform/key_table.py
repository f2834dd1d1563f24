"""Many values as one parameter of a statement.

PostgreSQL takes 65,535 parameters and no long list of tuples, SQLite no long ``OR``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import CTE, JSON, ColumnElement, Integer, Select, Uuid, cast, column, literal, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.core.keys import TaskInstanceKey

ALTERNATIVES = 200
"""SQLite reads an ``OR`` of a thousand conditions as too deep an expression."""
MAX_PARAMETERS = 1_000
"""The longest list whose values are parameters each, since PostgreSQL plans by their number."""

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


def is_among(column: ColumnElement[Any], values: Iterable[str | int | UUID]) -> ColumnElement[bool]:
    """Whether a column of other rows has one of the values; one parameter, however many they are."""
    return column.in_(_listed(column, values))


def are_among(
    columns: tuple[ColumnElement[Any], ColumnElement[Any]], pairs: Iterable[tuple[str, str]]
) -> ColumnElement[bool]:
    """Whether two columns have the texts of one of the pairs; all pairs are one parameter."""
    item = _items(list(pairs), "pairs")
    return tuple_(*columns).in_(select(item[0].as_string(), item[1].as_string()))


def is_named(column: ColumnElement[Any], values: Collection[str | int | UUID]) -> ColumnElement[bool]:
    """Whether a column has one of the values, by which a table's rows are found: PostgreSQL uses its index.

    A long list is one parameter.
    """
    if len(values) <= MAX_PARAMETERS:
        return column.in_(list(values))
    return is_one_of(column, _listed(column, values))


def _listed(of: ColumnElement[Any], values: Iterable[str | int | UUID]) -> Select[Any]:
    """Select the values, in the type of a column; a text in its whole length, which a cast would cut."""
    item = _items([[one.hex if isinstance(one, UUID) else one] for one in values], "listed")[0]
    if isinstance(of.type, Integer):
        return select(item.as_integer())
    return select(cast(item.as_string(), Uuid()) if isinstance(of.type, Uuid) else item.as_string())


def rows_of_keys(keys: Sequence[TaskInstanceKey], name: str = "excluded") -> CTE:
    """Return a table of task_id, map_index, run_id; one parameter of the statement, however many they are."""
    item = _items([key.to_json() for key in keys], f"{name}_items")
    rows = select(
        item[0].as_string().label("task_id"),
        item[1].as_integer().label("map_index"),
        item[2].as_string().label("run_id"),
    )
    return _taken_apart_once(rows.cte(f"{name}_keys"))


def rows_of_versions(versions: Iterable[tuple[UUID, int, str]], name: str = "versions_given") -> CTE:
    """Return a table of id, number and text of DAG versions; one parameter of the statement, as well."""
    item = _items([(id_.hex, number, text) for id_, number, text in versions], f"{name}_items")
    rows = select(
        cast(item[0].as_string(), Uuid()).label("id"),
        item[1].as_integer().label("number"),
        item[2].as_string().label("text"),
    )
    return _taken_apart_once(rows.cte(name))


def rows_of_tasks(tasks: Iterable[tuple[str, int, int]], name: str) -> CTE:
    """Return a table of task_id, number and retries; one parameter of the statement, as well."""
    item = _items(list(tasks), f"{name}_items")
    rows = select(
        item[0].as_string().label("task_id"),
        item[1].as_integer().label("number"),
        item[2].as_integer().label("retries"),
    )
    return _taken_apart_once(rows.cte(name))


def rows_of_shapes(tasks: Iterable[tuple[str, int]], name: str) -> CTE:
    """Return a table of task_id and shape; one parameter of the statement, as well."""
    item = _items(list(tasks), f"{name}_items")
    rows = select(item[0].as_string().label("task_id"), item[1].as_integer().label("shape"))
    return _taken_apart_once(rows.cte(name))


def rows_of_taken(
    tasks: Iterable[tuple[UUID, str, int, Iterable[bool]]], flags: Sequence[str], name: str
) -> CTE:
    """Return a table of version, task_id, map_index and flags; one parameter of the statement, as well."""
    items = [(id_.hex, task_id, index, *map(int, marked)) for id_, task_id, index, marked in tasks]
    item = _items(items, f"{name}_items")
    rows = select(
        cast(item[0].as_string(), Uuid()).label("version"),
        item[1].as_string().label("task_id"),
        item[2].as_integer().label("map_index"),
        *(item[place].as_integer().label(flag) for place, flag in enumerate(flags, start=3)),
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
