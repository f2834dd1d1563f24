"""Lets ``airflow db migrate`` make and upgrade Safe Clear's tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from safe_clear_plugin.airflow_api.platform.airflow_tables import BaseDBManager, engine
from safe_clear_plugin.airflow_api.platform.database import find_unsupported_database, warn_if_unsupported
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.schema.table_columns import find_shape, keep_known, shapes_by_revision
from safe_clear_plugin.storage.schema.table_repair import (
    add_columns,
    add_indexes,
    complete_tables,
    find_reached,
)
from safe_clear_plugin.storage.tables import metadata

_HERE = Path(__file__).parent


class SafeClearDBManager(BaseDBManager):
    """Airflow's DB manager for the tables in :mod:`safe_clear_plugin.storage.tables`.

    On a database that Safe Clear does not work on it says so and makes none, so that Airflow's own commands
    go on as without Safe Clear.
    """

    metadata = metadata
    version_table_name = "alembic_version_safe_clear"
    migration_dir = (_HERE / "migrations").as_posix()
    alembic_file = (_HERE / "alembic.ini").as_posix()
    supports_table_dropping = True
    revision_heads_map: ClassVar[dict[str, str]] = {"0.1.0": "5afec1ea0010"}

    def check_migration(self) -> bool:
        """Whether nothing is left to migrate, as where there is nothing to make."""
        return find_unsupported_database() is not None or bool(super().check_migration())

    def initdb(self, *args: Any, **options: Any) -> None:
        """Make the tables of a database that Airflow makes its own in."""
        if not warn_if_unsupported():
            super().initdb(*args, **options)

    def create_db_from_orm(self) -> None:
        """Make the tables, or the missing ones, as ``initdb`` does where no revision is named."""
        self.upgradedb()

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """Upgrade the tables, then give the mirrors what the installed Airflow's own tables have gained.

        Every ``airflow db migrate`` comes here, the one after an upgrade of Airflow too.
        """
        if warn_if_unsupported():
            return
        if show_sql_only:
            super().upgradedb(to_revision, from_revision, show_sql_only=True)
            return
        with self._transaction() as (connection, config):
            self._repair(connection, config, make_all=not (to_revision or use_migration_files))
            command.upgrade(config, to_revision or "heads")
            for mirror, column in missing_columns(connection):
                add_columns(connection, mirror, [column])
            if self._stamped(connection) == self._head():
                add_indexes(connection)

    def downgrade(
        self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False
    ) -> None:
        """Take the tables back to ``to_revision``; ``base`` removes them."""
        if warn_if_unsupported():
            return
        revision = f"{from_revision}:{to_revision}" if from_revision else to_revision
        if show_sql_only:
            command.downgrade(self.get_alembic_config(), revision=revision, sql=True)
            return
        with self._transaction() as (_, config):
            command.downgrade(config, revision=revision)

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, Config]]:
        """Run migrations, and what names their revision, whole or not at all."""
        with engine().begin() as connection:
            if connection.dialect.name == "sqlite":
                # Its driver begins a transaction only before a statement that changes rows.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config: Config = self.get_alembic_config()
            config.attributes["connection"] = connection
            yield connection, config

    def _repair(self, connection: Connection, config: Config, *, make_all: bool) -> None:
        """Complete the existing tables, and write their revision to the version table.

        With ``make_all`` an empty database gets all the tables at once.
        """
        stamped = self._stamped(connection)
        shapes = shapes_by_revision(self.get_script_object(config))
        if stamped is not None and stamped not in shapes:
            return  # A later version of Safe Clear made the tables; Alembic says so.
        found = keep_known(find_shape(connection, metadata.schema), shapes)
        reached = find_reached(found, stamped, shapes)
        if reached is None and (found or make_all):
            if found:
                self.log.warning("Safe Clear's tables are half made, and are completed.")
            complete_tables(connection, found)
            reached = self._head()
        if reached != stamped:
            command.stamp(config, reached or "base")

    def _stamped(self, connection: Connection) -> str | None:
        context = MigrationContext.configure(connection, opts={"version_table": self.version_table_name})
        return context.get_current_revision()

    def _head(self) -> str:
        head: str = self.get_script_object().get_current_head()
        return head
