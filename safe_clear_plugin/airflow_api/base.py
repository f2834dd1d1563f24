"""Airflow's database foundations, as Safe Clear uses them."""

from __future__ import annotations

from airflow import settings
from airflow.models.base import StringID, _get_schema, naming_convention
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.db_manager import BaseDBManager
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import Engine, MetaData, Table

__all__ = [
    "BaseDBManager",
    "StringID",
    "UtcDateTime",
    "dag_run",
    "dag_version",
    "deadline",
    "engine",
    "engine_url",
    "log",
    "new_metadata",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
]

task_instance: Table = TaskInstance.__table__
dag_run: Table = DagRun.__table__
dag_version: Table = DagVersion.__table__
task_instance_history: Table = TaskInstanceHistory.__table__
task_reschedule: Table = TaskReschedule.__table__
deadline: Table = Deadline.__table__
log: Table = Log.__table__


def engine() -> Engine:
    """Return the metadata DB's engine."""
    found: Engine = settings.engine
    return found


def engine_url() -> str:
    """Return the metadata DB's URL."""
    return str(settings.SQL_ALCHEMY_CONN)


def new_metadata() -> MetaData:
    """Return metadata in Airflow's schema, with Airflow's names for constraints and indexes."""
    return MetaData(schema=_get_schema(), naming_convention=naming_convention)
