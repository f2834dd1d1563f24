"""`[safe_clear] create_tables`: tables made from an api-server, where no migration makes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow import settings
from sqlalchemy import create_engine, inspect, text

from safe_clear_plugin.storage import table_setup
from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.tables import metadata
from tests.db.test_tables import TABLES, differences, tables
from tests.support.backends import METADATA
from tests.support.environment import airflow_environment
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.sqlite]

VERSIONS = "alembic_version_safe_clear"
SET_UP = """
import sys
from safe_clear_plugin.storage.table_setup import set_up_tables
print("ready", flush=True)
sys.stdin.readline()
set_up_tables()
"""


@pytest.fixture
def engine(session) -> Iterator[Any]:
    """Return the engine of the migrated database; the tables are there again at the end."""
    session.close()
    yield session.get_bind()
    table_setup.set_up_tables()


def drop_all(engine: Any) -> None:
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE {VERSIONS}"))


@pytest.mark.driver
@pytest.mark.airflow32
def test_tables_that_are_missing_are_made(engine, session):
    drop_all(engine)
    table_setup.set_up_tables()
    assert tables(engine) == TABLES
    assert differences(engine) == []
    assert SafeClearDBManager(session).check_migration()


def test_tables_that_are_there_are_left_alone(engine, session):
    with statements(session) as sent:
        table_setup.set_up_tables()
    assert not [one for one in sent if one.split()[0] in ("CREATE", "ALTER", "INSERT", "UPDATE")]
    assert not any("advisory" in one for one in sent)


@pytest.mark.airflow32
def test_tables_of_an_older_version_are_upgraded(engine, session):
    SafeClearDBManager(session).downgrade("5afec1ea0002")
    session.close()
    assert "safe_clear_plan_relation" not in inspect(engine).get_table_names()
    table_setup.set_up_tables()
    assert differences(engine) == []
    assert SafeClearDBManager(session).check_migration()


@pytest.fixture
def bare_airflow(backend, session) -> Iterator[str]:
    """Return a database that Airflow migrated without Safe Clear."""
    session.close()
    settings.engine.dispose()
    url = backend.create_database("bare", METADATA)
    engine = create_engine(url)
    drop_all(engine)
    engine.dispose()
    yield url
    backend.drop_database("bare")


def start(url: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SET_UP],
        env=airflow_environment(home, url, "simple"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_of_several_servers_that_start_at_once_each_finds_them(bare_airflow, tmp_path):
    servers = [start(bare_airflow, tmp_path) for _ in range(3)]
    try:
        for server in servers:
            while "ready" not in (line := server.stdout.readline()):
                assert line, "a server ended"
        for server in servers:
            server.stdin.write("\n")
            server.stdin.flush()
        said = [server.communicate(timeout=120)[0] for server in servers]
    finally:
        for server in servers:
            server.kill()
    assert [server.returncode for server in servers] == [0, 0, 0], said
    engine = create_engine(bare_airflow)
    assert tables(engine) == TABLES
    assert differences(engine) == []
    with engine.connect() as connection:
        assert len(connection.scalars(text(f"SELECT version_num FROM {VERSIONS}")).all()) == 1
    if engine.dialect.name == "postgresql":
        assert sum("Safe Clear makes its tables" in one for one in said) == 1
    engine.dispose()
