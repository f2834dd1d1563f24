"""The tables of before-images, which have the columns of Airflow's own tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Table, inspect

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.storage.tables import MIRRORS


def missing_columns(connection: Connection) -> list[tuple[Table, Column[Any]]]:
    """Return the columns that Airflow's tables have and the mirrors in the database lack.

    None on an Airflow that is not supported: there the mirrors stay as they are.
    """
    if compatibility.check(connection):
        return []
    inspector = inspect(connection)
    missing = []
    for mirror in (table for table in MIRRORS if inspector.has_table(table.name, schema=table.schema)):
        there = {column["name"] for column in inspector.get_columns(mirror.name, schema=mirror.schema)}
        missing += [(mirror, column) for column in mirror.c if column.name not in there]
    return missing
