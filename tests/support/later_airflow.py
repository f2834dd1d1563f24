"""Runs Airflow's command line as an Airflow that Safe Clear does not know would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.environment import airflow_environment, without_airflow_settings

LATER_VERSION = """
import airflow
airflow.__version__ = "3.4.0"
"""
NEW_COLUMN = """
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import Boolean, Column
TaskInstance.__table__.append_column(Column("working_set", Boolean()))
"""
NO_HISTORY = """
from airflow.models.base import metadata
from airflow.models.taskinstancehistory import TaskInstanceHistory
metadata.remove(TaskInstanceHistory.__table__)
"""
MOVED_NAME = """
import airflow.models.taskinstance
del airflow.models.taskinstance.find_relevant_relatives
"""
COMMAND_LINE = """
import sys
from airflow.__main__ import main
sys.argv = ["airflow", *sys.argv[1:]]
main()
"""


def later_patch(version: str) -> str:
    """Return a later patch release of the same minor version."""
    return f"{'.'.join(version.split('.')[:2])}.99"


def run_airflow(
    url: str, home: Path, changes: str, *command: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``airflow command`` after ``changes``, which are Python code, have been made to Airflow."""
    return run_python(url, home, changes + COMMAND_LINE, *command, **variables)


def run_python(
    url: str, home: Path, code: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, on the metadata database at ``url``."""
    settings = airflow_environment(home, url, "fab")
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**without_airflow_settings(dict(os.environ)), **settings, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
