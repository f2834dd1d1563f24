"""Lets ``airflow db migrate`` make and upgrade Safe Clear's tables."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from alembic import command

from safe_clear_plugin.airflow_api.base import BaseDBManager
from safe_clear_plugin.storage.models import metadata

_HERE = Path(__file__).parent


class SafeClearDBManager(BaseDBManager):
    """Airflow's DB manager for the tables in :mod:`safe_clear_plugin.storage.models`."""

    metadata = metadata
    version_table_name = "alembic_version_safe_clear"
    migration_dir = (_HERE / "migrations").as_posix()
    alembic_file = (_HERE / "alembic.ini").as_posix()
    supports_table_dropping = True
    revision_heads_map: ClassVar[dict[str, str]] = {"0.1.0": "5afec1ea0001"}

    def downgrade(
        self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False
    ) -> None:
        """Take the tables back to ``to_revision``; ``base`` removes them."""
        revision = f"{from_revision}:{to_revision}" if from_revision else to_revision
        command.downgrade(self.get_alembic_config(), revision=revision, sql=show_sql_only)
