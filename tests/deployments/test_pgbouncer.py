"""Through a pgbouncer in transaction mode, where each transaction may get another connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from safe_clear_plugin.storage.tables import metadata
from tests.deployments.through_pgbouncer import RUNS
from tests.support import pgbouncer
from tests.support.environment import airflow_environment, without_airflow_settings
from tests.support.pgbouncer import Pgbouncer
from tests.support.postgres import PostgresqlServer

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not pgbouncer.program(), reason="no pgbouncer: run `scripts/system-packages full`"),
]

REPOSITORY = Path(__file__).parents[2]
MIGRATED = "migrated"
FOLLOWS_PREPARED_STATEMENTS = (1, 21)
"""The first version of pgbouncer that does, with ``max_prepared_statements``."""
NOT_PREPARED = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "tests.deployments.connect_args.NOT_PREPARED"}


def run(url: str, home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **without_airflow_settings(dict(os.environ)),
        **airflow_environment(home, url, "simple"),
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW__SAFE_CLEAR__BATCH_SIZE": "10",
        **variables,
    }
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresqlServer]:
    """Return a server with a database that Airflow migrated before Safe Clear was installed."""
    server = PostgresqlServer()
    try:
        server.start()
        url = server.create_database(MIGRATED)
        done = run(url, tmp_path_factory.mktemp("home"), "-m", "airflow", "db", "migrate")
        assert done.returncode == 0, done.stderr[-3000:]
        engine = create_engine(url)
        with engine.begin() as connection:
            metadata.drop_all(connection)
            connection.execute(text("DROP TABLE alembic_version_safe_clear"))
        engine.dispose()
        yield server
    finally:
        server.stop()


@pytest.fixture
def pooled(server: PostgresqlServer, request: pytest.FixtureRequest) -> Iterator[Pgbouncer]:
    """Return pgbouncer before a new database called ``airflow``; a parameter is more of its configuration."""
    server.create_database("airflow", MIGRATED)
    bouncer = Pgbouncer(server, getattr(request, "param", ""))
    try:
        bouncer.start("airflow")
        yield bouncer
    finally:
        bouncer.stop()
        server.drop_database("airflow")


def act(url: str, home: Path, **variables: str) -> dict[str, Any]:
    done = run(url, home, "-m", "tests.deployments.through_pgbouncer", **variables)
    lines = [line for line in done.stdout.splitlines() if line.startswith("result ")]
    assert lines, done.stderr[-4000:]
    return dict(json.loads(lines[0].removeprefix("result ")))


def check(done: dict[str, Any], *, prepared: bool = False) -> None:
    assert done["tables_made"]
    assert done["task_instances"] == done["cleared"] == done["put_back"] == 3 * RUNS
    assert done["batches"] > 5
    assert {"task_instance", "dag_run"} <= set(done["tables_changed"])
    assert done["not_put_back"] == {}
    assert done["cancelled"]
    watched, left = done["watched"], done["left"]
    # The connections did change, or nothing was tried here.
    assert watched["most_processes"] > 1
    assert left.pop("processes") == pgbouncer.POOL
    assert watched["statements"] > 50
    assert watched["lasting"] == []
    if prepared:
        left.pop("prepared")
    else:
        assert left.pop("prepared") == 0
    assert left == {"settings": [], "advisory_locks": 0, "temporary_tables": 0}


def test_psycopg_without_prepared_statements(pooled, tmp_path):
    check(act(pooled.url("airflow", "psycopg"), tmp_path, **NOT_PREPARED))


def test_psycopg2(pooled, tmp_path):
    check(act(pooled.url("airflow", "psycopg2"), tmp_path))


@pytest.mark.skipif(
    pgbouncer.version() < FOLLOWS_PREPARED_STATEMENTS, reason="pgbouncer follows them from 1.21 on"
)
@pytest.mark.parametrize("pooled", ["max_prepared_statements = 100"], indirect=True)
def test_psycopg_with_prepared_statements(pooled, tmp_path):
    check(act(pooled.url("airflow", "psycopg"), tmp_path), prepared=True)
