"""Runs Safe Clear's migrations on the connection of Airflow's metadata DB."""

from __future__ import annotations

from typing import Any

from alembic import context

from safe_clear_plugin.airflow_api.platform.airflow_tables import engine, engine_url
from safe_clear_plugin.storage.db_manager import SafeClearDBManager

_OPTIONS: dict[str, Any] = {
    "target_metadata": SafeClearDBManager.metadata,
    "version_table": SafeClearDBManager.version_table_name,
    "render_as_batch": True,
    "compare_type": True,
    "include_object": lambda _, name, kind, *__: (
        kind != "table" or name in {t.name for t in SafeClearDBManager.metadata.tables.values()}
    ),
}


def _run(**where: Any) -> None:
    context.configure(**where, **_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _run(url=engine_url(), literal_binds=True)
elif connection := context.config.attributes.get("connection"):
    _run(connection=connection)
else:
    with engine().connect() as connection:
        _run(connection=connection, transaction_per_migration=True)
