"""On MariaDB, Airflow works as without Safe Clear, which makes no tables and says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.support.later_airflow import run_airflow, run_python
from tests.support.mariadb import MariadbServer, is_installed

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not is_installed(), reason="no mariadbd: run `scripts/system-packages full`"),
]

SENTENCE = "Airflow runs on MariaDB here, and Safe Clear needs PostgreSQL or SQLite."
# Airflow asks for mysqlclient, which has no wheels, even where another driver is used.
DRIVER = """
import sys
import pymysql.converters
pymysql.converters.DateTime2literal = pymysql.converters.escape_datetime
sys.modules.update({"MySQLdb": pymysql, "MySQLdb.converters": pymysql.converters})
"""
ASK = """
import json, os
from airflow.api_fastapi.app import init_auth_manager
from airflow.providers.fab.www.app import create_app
from fastapi import FastAPI
init_auth_manager(FastAPI())
app = create_app(enable_plugins=True)
from tests.support.auth import bearer, create_fab_users, login
create_fab_users(app)
plan = {"dag_id": "etl", "task_regex": "x", "date_from": "2026-01-01", "date_to": "2026-01-31"}
program, person = app.test_client(), login(app.test_client(), "admin")
answers = [app.test_client().get("/safe_clear/plans.json")]
for create_tables in ("False", "True"):
    os.environ["AIRFLOW__SAFE_CLEAR__CREATE_TABLES"] = create_tables
    answers += [
        program.get("/safe_clear/plans.json", headers=bearer("admin")),
        program.post("/safe_clear/plans", json=plan, headers=bearer("admin")),
        person.get("/safe_clear/"),
        person.get("/safe_clear/plans"),
    ]
print("answers", json.dumps([(one.status_code, one.text) for one in answers]))
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return an empty database of a private server."""
    server = MariadbServer()
    try:
        server.start()
        yield server.create_database("airflow")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def airflow(url: str, home: Path, *command: str) -> CompletedProcess[str]:
    done = run_airflow(url, home, DRIVER, *command)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done


def said(done: CompletedProcess[str]) -> int:
    return (done.stdout + done.stderr).count(SENTENCE)


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def migrated(url: str, home: Path) -> str:
    """Return the database after its first migration, of which the log said one sentence."""
    assert said(airflow(url, home, "db", "migrate")) == 1
    return url


def test_airflow_migrates_all_but_our_tables_and_says_so_once(migrated, home):
    assert said(airflow(migrated, home, "db", "migrate")) == 1
    found = tables(migrated)
    assert {"dag_run", "task_instance", "ab_user"} <= found
    assert not [name for name in found if "safe_clear" in name]


def test_nothing_waits_for_migrations(migrated, home):
    assert said(airflow(migrated, home, "db", "check-migrations")) == 0


def ask(url: str, home: Path) -> list[Any]:
    done = run_python(url, home, DRIVER + ASK, PYTHONPATH=str(Path(__file__).parents[2]))
    [line] = [one for one in done.stdout.splitlines() if one.startswith("answers ")] or [done.stderr[-3000:]]
    return list(json.loads(line.removeprefix("answers ")))


def test_pages_and_json_say_which_database_and_which_are_needed(migrated, home):
    """With `[safe_clear] create_tables` off, then on."""
    stranger, *answers = ask(migrated, home)
    assert stranger[0] == 401
    for position, (status, text) in enumerate(answers):
        assert (status, text.count(SENTENCE)) == (503, 1), text
        if position % 4 < 2:
            body = json.loads(text)
            assert (body["code"], body["error"]) == ("unsupported_database", SENTENCE)
            assert body["remedy"]
    assert not [name for name in tables(migrated) if "safe_clear" in name]


def test_airflow_resets_the_database(migrated, home):
    assert said(airflow(migrated, home, "db", "reset", "--yes")) == 1
    assert "dag_run" in tables(migrated)
