"""The benchmark's own PostgreSQL: one database with the history, and fresh copies of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from tests.support import environment
from tests.support.postgres import DRIVER, PostgresqlServer

REPOSITORY = Path(__file__).parents[1]
TEMPLATE = "bench_template"

# As a deployment's: commits are on disk, so that many small transactions cost what they cost.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "timezone": "UTC",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}

DRIVERS = ("psycopg", "psycopg2")
"""SQLAlchemy's names; the first one is what Airflow takes for ``postgresql://``."""

# What Airflow chooses by itself where one of them alone is installed.
_INSERTS = {"insertmanyvalues_page_size": 10_000}
_ENGINES = {
    "psycopg": _INSERTS,
    "psycopg2": {
        **_INSERTS,
        "executemany_mode": "values_plus_batch",
        "executemany_batch_page_size": 2_000,
    },
}


def engine_args(driver: str) -> str:
    """Return Airflow's option ``sql_alchemy_engine_args`` for a driver."""
    return json.dumps(_ENGINES[driver])


class BenchServer(PostgresqlServer):
    """A private PostgreSQL whose databases are copied as files, which is quick for large ones."""

    def __init__(self) -> None:
        """Choose its place, and one for the files of Airflow."""
        super().__init__(SETTINGS)
        self.home = Path(tempfile.mkdtemp(prefix="safe-clear-bench-"))

    def stop(self) -> None:
        """Stop it and remove what it left."""
        super().stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def version(self) -> str:
        """Return PostgreSQL's version."""
        with self._connect() as connection:
            return str(connection.info.parameter_status("server_version"))

    @contextmanager
    def copy(self, name: str) -> Iterator[str]:
        """Give a fresh copy of the history for as long as it is needed; returns its name."""
        with self._connect() as connection:
            quick = "STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} " + quick).format(
                    sql.Identifier(name), sql.Identifier(TEMPLATE)
                )
            )
        try:
            yield name
        finally:
            self.drop_database(name)

    def url(self, database: str, driver: str = DRIVERS[0]) -> str:
        """Return the SQLAlchemy URL of ``database`` through a driver."""
        return super().url(database).replace(f"+{DRIVER}:", f"+{driver}:", 1)

    def environment(self, database: str, driver: str = DRIVERS[0], **more: str) -> dict[str, str]:
        """Return the environment in which a process has Airflow on ``database``."""
        assert self.process_id is not None
        return {
            **environment.without_airflow_settings(dict(os.environ)),
            **environment.airflow_environment(self.home, self.url(database, driver), "fab"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_ENGINE_ARGS": engine_args(driver),
            # As a deployment's, which looks at a DAG that it knows no more often than this.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "30",
            "AIRFLOW__API__BASE_URL": "http://localhost:8080",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONWARNINGS": "ignore",
            "BENCH_POSTGRESQL_PID": str(self.process_id),
            **more,
        }

    def run(self, database: str, *arguments: str, **more: str) -> str:
        """Run Python on ``database`` and return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(database, **more),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout
