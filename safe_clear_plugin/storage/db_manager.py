"""Lets ``airflow db migrate`` make and upgrade Safe Clear's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column

from safe_clear_plugin.airflow_api.base import BaseDBManager, engine
from safe_clear_plugin.airflow_api.database import find_unsupported_database, warn_if_unsupported
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.models import metadata

_HERE = Path(__file__).parent


class SafeClearDBManager(BaseDBManager):
    """Airflow's DB manager for the tables in :mod:`safe_clear_plugin.storage.models`.

    On a database that Safe Clear does not work on it says so and makes none, so that Airflow's own commands
    go on as without Safe Clear.
    """

    metadata = metadata
    version_table_name = "alembic_version_safe_clear"
    migration_dir = (_HERE / "migrations").as_posix()
    alembic_file = (_HERE / "alembic.ini").as_posix()
    supports_table_dropping = True
    revision_heads_map: ClassVar[dict[str, str]] = {"0.1.0": "5afec1ea0005"}

    def check_migration(self) -> bool:
        """Whether nothing is left to migrate, as where there is nothing to make."""
        return find_unsupported_database() is not None or bool(super().check_migration())

    def initdb(self, *args: Any, **options: Any) -> None:
        """Make the tables of a database that Airflow makes its own in."""
        if not warn_if_unsupported():
            super().initdb(*args, **options)

    def upgradedb(self, *args: Any, show_sql_only: bool = False, **options: Any) -> None:
        """Upgrade the tables, then give the mirrors what the installed Airflow's own tables have gained.

        Every ``airflow db migrate`` comes here, the one after an upgrade of Airflow too.
        """
        if warn_if_unsupported():
            return
        super().upgradedb(*args, show_sql_only=show_sql_only, **options)
        if show_sql_only:
            return
        with engine().begin() as connection:
            operations = Operations(MigrationContext.configure(connection))
            for mirror, column in missing_columns(connection):
                added = Column[Any](column.name, column.type)
                operations.add_column(mirror.name, added, schema=mirror.schema)

    def downgrade(
        self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False
    ) -> None:
        """Take the tables back to ``to_revision``; ``base`` removes them."""
        if warn_if_unsupported():
            return
        revision = f"{from_revision}:{to_revision}" if from_revision else to_revision
        command.downgrade(self.get_alembic_config(), revision=revision, sql=show_sql_only)
