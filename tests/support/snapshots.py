"""Everything that a metadata database holds, to show that something changed nothing else."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Dialect
    from sqlalchemy.orm import Session

Row = dict[str, Any]
Snapshot = dict[str, list[Row]]


def snapshot(session: Session, *, exclude_tables: Collection[str] = ()) -> Snapshot:
    """Return every row of every table as the driver gives it, in an order that depends on the rows only.

    What ``session`` holds is flushed first; nothing is committed.
    """
    session.flush()
    connection = session.connection()
    quote = connection.dialect.identifier_preparer.quote
    names = sorted(set(inspect(connection).get_table_names()) - set(exclude_tables))
    tables: Snapshot = {name: [] for name in names}
    for name in sorted(filled_tables(connection, tuple(names))):
        result = connection.exec_driver_sql(f"SELECT * FROM {quote(name)}")
        rows = [{column: _plain(value) for column, value in row.items()} for row in result.mappings()]
        tables[name] = sorted(rows, key=_sort_key)
    return tables


def filled_tables(connection: Connection, names: tuple[str, ...]) -> set[str]:
    """Return which of the tables have rows."""
    if not names:
        return set()
    return {name for (name,) in connection.exec_driver_sql(_filled_statement(names, connection.dialect))}


@cache
def _filled_statement(names: tuple[str, ...], dialect: Dialect) -> str:
    # Most tables are empty most of the time: to ask for all in one statement of text costs next to nothing.
    quote = dialect.identifier_preparer.quote
    return " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {quote(name)})" for name in names)


def diff_snapshots(before: Snapshot, after: Snapshot) -> dict[str, dict[str, list[Row]]]:
    """Return, by table, the rows only in ``before`` (``removed``) and only in ``after`` (``added``).

    A changed row is in both lists. Equal snapshots give an empty dict.
    """
    differences = {}
    for table in sorted(before.keys() | after.keys()):
        old, new = before.get(table, []), after.get(table, [])
        if old == new:
            continue
        removed, added = _without(old, new), _without(new, old)
        if removed or added:
            differences[table] = {"removed": removed, "added": added}
    return differences


def _without(rows: list[Row], others: list[Row]) -> list[Row]:
    left = Counter(_sort_key(row) for row in others)
    result = []
    for row in rows:
        key = _sort_key(row)
        if left[key]:
            left[key] -= 1
        else:
            result.append(row)
    return result


def _sort_key(row: Row) -> str:
    return repr([(name, _canonical(value)) for name, value in row.items()])


def _canonical(value: Any) -> Any:
    return json.dumps(value, sort_keys=True, default=repr) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """Return bytes for PostgreSQL's memoryview, which compares by buffer and prints as an address."""
    return bytes(value) if isinstance(value, memoryview) else value
