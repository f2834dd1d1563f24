"""Commands and web server of an Airflow that Safe Clear does not know work, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow import settings
from sqlalchemy import create_engine, inspect, text

from tests.support.backends import METADATA
from tests.support.later_airflow import (
    LATER_VERSION,
    MOVED_NAME,
    NEW_COLUMN,
    NO_HISTORY,
    run_airflow,
    run_python,
)

pytestmark = [pytest.mark.airflow32]

MIRROR = "safe_clear_before_task_instance"
REQUESTS = """
from airflow.api_fastapi.app import init_auth_manager
from airflow.providers.fab.www.app import create_app
from fastapi import FastAPI
init_auth_manager(FastAPI())
client = create_app(enable_plugins=True).test_client()
for method, path, accept in (
    ("GET", "/safe_clear/", "text/html"),
    ("GET", "/safe_clear/plans.json", "*/*"),
    ("POST", "/safe_clear/plans/1/apply", "application/json"),
    ("POST", "/safe_clear/plans/1/undo", "text/html"),
):
    answer = client.open(path, method=method, headers={"Accept": accept})
    print("ANSWER", answer.status_code, answer.content_type.split(";")[0], answer.text.replace("\\n", " "))
"""


def columns(url: str, table: str) -> set[str]:
    engine = create_engine(url)
    found = {column["name"] for column in inspect(engine).get_columns(table)}
    engine.dispose()
    return found


@pytest.fixture
def migrated(backend) -> Iterator[str]:
    """Return a copy of the migrated database."""
    settings.engine.dispose()
    yield backend.create_database("later", METADATA)
    backend.drop_database("later")


def test_airflow_db_migrate_of_a_later_version_leaves_the_mirrors_alone(migrated, tmp_path):
    before = columns(migrated, MIRROR)
    engine = create_engine(migrated)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE task_instance ADD COLUMN working_set BOOLEAN"))
    engine.dispose()
    changes = LATER_VERSION + NEW_COLUMN + MOVED_NAME
    for command in ("migrate", "check-migrations"):
        done = run_airflow(migrated, tmp_path, changes, "db", command)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        if command == "migrate":
            assert (done.stdout + done.stderr).count("Upgrade Safe Clear to a version") == 1
    assert columns(migrated, MIRROR) == before


@pytest.mark.full
def test_airflow_db_migrate_of_a_later_version_makes_the_tables(empty_database, tmp_path):
    url = empty_database()
    done = run_airflow(url, tmp_path, LATER_VERSION + NEW_COLUMN + NO_HISTORY, "db", "migrate")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "status" in columns(url, "safe_clear_plan")
    assert "task_id" in columns(url, MIRROR)


def test_a_name_that_has_moved_makes_a_sentence_and_no_broken_web_server(migrated, tmp_path):
    done = run_python(migrated, tmp_path, LATER_VERSION + MOVED_NAME + REQUESTS)
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert [line.split()[1:3] for line in answers] == [
        ["409", "text/html"],
        ["409", "application/json"],
        ["409", "application/json"],
        ["409", "text/html"],
    ], done.stderr[-2000:]
    for line in answers:
        assert "Safe Clear does not work with Airflow 3.4.0: cannot import name" in line
        assert "find_relevant_relatives" in line
        assert "site-packages" not in line
    assert "unsupported_airflow" in answers[1]


@pytest.mark.full
def test_a_model_that_is_gone_leaves_the_pages(migrated, tmp_path):
    """As the history of task instances in Airflow 3.4."""
    done = run_python(migrated, tmp_path, LATER_VERSION + NO_HISTORY + REQUESTS)
    answers = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    # Nobody is logged in: the pages ask for that, as ever.
    assert answers == ["302", "401", "401", "401"], done.stderr[-2000:]
