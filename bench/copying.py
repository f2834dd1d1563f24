"""Rows that Airflow wrote, written again by COPY many times with other values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

NULL = "\\N"
"""How COPY writes NULL."""


@dataclass(frozen=True, slots=True)
class Model:
    """A row as COPY writes it, by column."""

    table: str
    fields: dict[str, str]

    def line(self, values: Mapping[str, str]) -> str:
        """Return the row with some values replaced; every other column stays as Airflow wrote it."""
        return "\t".join({**self.fields, **values}.values()) + "\n"

    def moved_to(self, table: str, columns: Sequence[str]) -> Model:
        """Return the row as one of another table, which shares some of its columns."""
        return Model(table, {column: self.fields.get(column, NULL) for column in columns})


def columns_of(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Return the columns of a table in their order."""
    with connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table))) as cursor:
        return [column.name for column in cursor.description or ()]


def read_models(connection: psycopg.Connection[Any], table: str, where: str) -> list[Model]:
    """Return the rows of a table that meet a condition."""
    columns = columns_of(connection, table)
    query = sql.SQL(f"COPY (SELECT * FROM {{}} WHERE {where}) TO STDOUT").format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        text = b"".join(copy).decode()
    return [
        Model(table, dict(zip(columns, line.split("\t"), strict=True))) for line in text.split("\n") if line
    ]


def write_lines(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str], lines: Iterable[str]
) -> None:
    """Load lines of a table."""
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for line in lines:
            copy.write(line)
