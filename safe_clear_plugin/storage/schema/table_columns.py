"""Safe Clear's tables and columns in a database, and those that each migration leaves."""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from safe_clear_plugin.storage.tables import MIRRORS, metadata

TABLE = ""
"""Stands in a shape for the table itself, which a mirror has alone: Airflow decides on its columns."""

Shape = frozenset[tuple[str, str]]
"""Tables and columns, each by the names of both."""

_MIRRORS = {mirror.name for mirror in MIRRORS}


def find_shape(connection: Connection, schema: str | None) -> Shape:
    """Return the shape of all the tables in a schema."""
    found = inspect(connection).get_multi_columns(schema=schema)
    names = {name: [one["name"] for one in columns] for (_, name), columns in found.items() if name}
    return frozenset(
        (name, part)
        for name, columns in names.items()
        for part in (TABLE, *(() if name in _MIRRORS else columns))
    )


def shapes_by_revision(script: ScriptDirectory) -> dict[str, Shape]:
    """Return the shape that each migration leaves, the first first: they are run in a database in memory."""
    engine = create_engine("sqlite://")
    shapes = {}
    with engine.connect() as connection:
        if metadata.schema:
            quoted = connection.dialect.identifier_preparer.quote_schema(metadata.schema)
            connection.exec_driver_sql(f"ATTACH DATABASE ':memory:' AS {quoted}")
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        with Operations.context(context):
            for revision in reversed(list(script.walk_revisions())):
                revision.module.upgrade()
                shapes[revision.revision] = find_shape(connection, metadata.schema)
    engine.dispose()
    return shapes


def keep_known(found: Shape, shapes: dict[str, Shape]) -> Shape:
    """Return what some migration makes: other tables are Airflow's, and a column may be somebody's own."""
    return found & frozenset().union(*shapes.values())
