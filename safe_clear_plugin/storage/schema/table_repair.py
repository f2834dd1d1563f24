"""Repairs tables that a migration left half made, or whole but without a revision in the version table.

A migration is one transaction, so none is left half made now. One that an earlier version of Safe Clear ran
may be, on SQLite, and a version table may be lost.
"""

from __future__ import annotations

import logging
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Connection, DefaultClause, Table, exists, inspect, select

from safe_clear_plugin.storage.schema.table_columns import TABLE, Shape
from safe_clear_plugin.storage.tables import MIRRORS, metadata

log = logging.getLogger(__name__)


class UnknownTablesError(RuntimeError):
    """Tables hold rows, and are such that no migration makes them."""


def find_reached(found: Shape, stamped: str | None, shapes: dict[str, Shape]) -> str | None:
    """Return the revision that the tables match, regardless of the version table; none if they match none."""
    reached = [revision for revision, shape in shapes.items() if shape == found]
    return stamped if stamped in reached else next(reversed(reached), None)


def complete_tables(connection: Connection, found: Shape) -> None:
    """Add the tables and columns that the models have and the database lacks; existing ones are kept.

    A table that lacks what cannot be added, or has what the models no longer have, is made again if it holds
    no rows.
    """
    excess = found - _model_shape()
    there = [table for table in metadata.sorted_tables if (table.name, TABLE) in found]
    other = [table for table in there if _differs(table, found, excess)]
    filled = [one.name for one in other if connection.scalar(select(exists().select_from(one)))]
    if filled:
        raise UnknownTablesError(
            f"No migration of Safe Clear leaves {', '.join(filled)} like this, and there are rows in it. "
            "Restore it from a backup, or give it another name. Then run `airflow db migrate` again."
        )
    for table in reversed(other):
        table.drop(connection)
    metadata.create_all(connection)
    for table in there:
        if table not in other and table not in MIRRORS:
            add_columns(connection, table, _missing(table, found))


def add_columns(connection: Connection, table: Table, columns: list[Column[Any]]) -> None:
    """Add columns to a table as the models have them."""
    operations = Operations(MigrationContext.configure(connection))
    for column in columns:
        log.info("Safe Clear adds the column %s to the table %s.", column.name, table.name)
        default: Any = column.server_default.arg if isinstance(column.server_default, DefaultClause) else None
        added = Column[Any](column.name, column.type, nullable=column.nullable, server_default=default)
        operations.add_column(table.name, added, schema=table.schema)


def add_indexes(connection: Connection) -> None:
    """Add the indexes that the models have and the database lacks."""
    for table in metadata.sorted_tables:
        there = {one["name"] for one in inspect(connection).get_indexes(table.name, schema=table.schema)}
        for index in table.indexes:
            if index.name not in there:
                index.create(connection)


def _model_shape() -> Shape:
    return frozenset(
        (table.name, part) for table in metadata.sorted_tables for part in (TABLE, *table.c.keys())
    )


def _missing(table: Table, found: Shape) -> list[Column[Any]]:
    return [column for column in table.c if (table.name, column.name) not in found]


def _differs(table: Table, found: Shape, excess: Shape) -> bool:
    if table in MIRRORS:
        return False
    fixed = [column for column in table.c if not column.nullable and column.server_default is None]
    return any(name == table.name for name, _ in excess) or any(
        (table.name, column.name) not in found for column in fixed
    )
