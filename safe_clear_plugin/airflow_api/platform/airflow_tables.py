"""Airflow's database foundations, as Safe Clear uses them.

Importing this module succeeds with any tables of the installed Airflow. ``airflow db migrate`` does so, and
plans are shown even where :mod:`~safe_clear_plugin.airflow_api.platform.compatibility` refuses to clear.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from airflow import settings
from airflow.models.base import StringID, naming_convention
from airflow.models.base import metadata as airflow_metadata
from airflow.utils.db_manager import BaseDBManager
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import Column, Engine, MetaData, Table, Text

from safe_clear_plugin.airflow_api.platform.expected_tables import common_columns

__all__ = [
    "BaseDBManager",
    "StringID",
    "UtcDateTime",
    "asset_state_store",
    "dag_run",
    "dag_version",
    "deadline",
    "engine",
    "engine_url",
    "find_table",
    "hitl_detail",
    "log",
    "new_metadata",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
    "task_state_store",
    "xcom",
]

_MODEL_MODULES = (
    "asset_state_store",
    "backfill",
    "dag",
    "dag_version",
    "dagrun",
    "deadline",
    "deadline_alert",
    "hitl",
    "log",
    "pool",
    "serialized_dag",
    "task_state_store",
    "taskinstance",
    "taskinstancehistory",
    "taskreschedule",
    "xcom",
)
for _module in _MODEL_MODULES:
    # One that has moved or gone leaves its table out, which is found when the tables are compared.
    with suppress(ImportError):
        import_module(f"airflow.models.{_module}")


def find_table(name: str) -> Table | None:
    """Return a table of Airflow's by its name, if the installed Airflow has it."""
    schema = airflow_metadata.schema
    found: Table | None = airflow_metadata.tables.get(f"{schema}.{name}" if schema else name)
    return found


def _table(name: str) -> Table:
    """Return a table of Airflow's, or a stand-in if it lacks columns that the supported Airflows have.

    Modules build statements from its columns when they are imported; none on a stand-in is executed.
    """
    live, expected = find_table(name), common_columns(name)
    if live is not None and expected <= set(live.c.keys()):
        return live
    types = {one.name: one.type for one in live.c} if live is not None else {}
    columns = [Column[Any](one, types.get(one, Text())) for one in sorted(expected)]
    return Table(name, MetaData(schema=airflow_metadata.schema), *columns)


task_instance = _table("task_instance")
dag_run = _table("dag_run")
dag_version = _table("dag_version")
task_instance_history = _table("task_instance_history")
task_reschedule = _table("task_reschedule")
deadline = _table("deadline")
log = _table("log")
hitl_detail = _table("hitl_detail")
xcom = _table("xcom")
task_state_store = find_table("task_state_store")
"""State that tries leave for later tries: ``None`` before Airflow 3.3."""
asset_state_store = find_table("asset_state_store")


def engine() -> Engine:
    """Return the metadata DB's engine."""
    found: Engine = settings.engine
    return found


def engine_url() -> str:
    """Return the metadata DB's URL."""
    return str(settings.SQL_ALCHEMY_CONN)


def new_metadata() -> MetaData:
    """Return metadata in Airflow's schema, with Airflow's names for constraints and indexes."""
    return MetaData(schema=airflow_metadata.schema, naming_convention=naming_convention)
