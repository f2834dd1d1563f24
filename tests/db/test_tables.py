"""Safe Clear's tables come, change and go with ``airflow db migrate``."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config, database
from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.table_setup import set_up_tables
from safe_clear_plugin.storage.tables import metadata
from tests.support.environment import airflow_environment

TABLES = {table.name for table in metadata.sorted_tables}


def differences(engine):
    """Compare the database's tables with the models, as Alembic's autogenerate does."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                # Before they are read: Airflow has many.
                "include_name": lambda name, kind, _: kind != "table" or name in TABLES,
                "compare_type": True,
            },
        )
        return compare_metadata(context, metadata)


def tables(engine):
    return TABLES & set(inspect(engine).get_table_names())


@pytest.fixture
def manager(session):
    """The DB manager on the migrated database; whatever the test does, the tables are there afterwards."""
    yield SafeClearDBManager(session)
    session.rollback()
    SafeClearDBManager(session).upgradedb()


def test_a_fresh_install_has_the_tables_of_the_models(session):
    assert tables(session.get_bind()) == TABLES
    assert differences(session.get_bind()) == []
    assert SafeClearDBManager(session).check_migration()


def test_downgrade_removes_and_the_migrations_make_the_same_tables(manager, session):
    engine = session.get_bind()
    session.rollback()
    manager.downgrade("base")
    assert tables(engine) == set()
    assert "dag_run" in inspect(engine).get_table_names()
    manager.upgradedb(to_revision="heads")
    assert tables(engine) == TABLES
    assert differences(engine) == []
    session.rollback()
    assert manager.check_migration()


def test_an_upgrade_of_an_upgraded_database_keeps_the_rows(manager, session):
    now = "2026-01-01 00:00:00+00:00"
    session.execute(
        text(
            "INSERT INTO safe_clear_plan (id, dag_id, status, selection, run_on_latest_version,"
            " dag_versions, findings, fingerprint, task_instances, dag_runs, created_by, created_by_name,"
            " created_at, expires_at)"
            f" VALUES ('{'0' * 32}', 'd', 'applied', '{{}}', false, '[]', '[]', '', 0, 0, '', '',"
            f" '{now}', '{now}')"
        )
    )
    session.commit()
    manager.upgradedb()
    manager.upgradedb()
    session.rollback()
    assert session.scalar(text("SELECT count(*) FROM safe_clear_plan")) == 1


def airflow(url, home, *command):
    environment = {**os.environ, **airflow_environment(home, url, "simple")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("airflow")), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_airflow_db_migrate_is_all_it_takes(empty_database, tmp_path):
    """On an empty database, on one whose Airflow was there before the package, and again."""
    url = empty_database()
    engine = create_engine(url)
    for state in ("empty", "airflow only", "complete"):
        if state == "airflow only":
            with engine.begin() as connection:
                metadata.drop_all(connection)
                connection.execute(text("DROP TABLE alembic_version_safe_clear"))
        done = airflow(url, tmp_path, "db", "migrate")
        assert done.returncode == 0, (state, done.stderr[-2000:])
        assert tables(engine) == TABLES, state
        assert differences(engine) == [], state
        with Session(engine) as other:
            assert SafeClearDBManager(other).check_migration(), state
    engine.dispose()


def test_this_version_means_all_the_migrations(manager):
    assert (
        manager.revision_heads_map[version("airflow-safe-clear")]
        == manager.get_script_object().get_current_head()
    )


def test_airflow_shows_the_options(tmp_path):
    done = airflow("sqlite:////nonexistent.db", tmp_path, "config", "get-value", "safe_clear", "batch_size")
    assert done.stdout.strip().splitlines()[-1] == "650", done.stderr
    assert config.batch_size() == 650
    assert config.plan_ttl_minutes() == 30
    assert config.history_retention_days() == 90


def test_a_column_that_a_later_airflow_brings_comes_into_the_mirror(manager, session):
    """As after an upgrade of Airflow: its tables have a column that the mirrors were made without."""
    engine = session.get_bind()
    session.rollback()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE safe_clear_before_task_instance DROP COLUMN next_kwargs"))
        assert [column.name for _, column in missing_columns(connection)] == ["next_kwargs"]
    manager.upgradedb()
    with engine.connect() as connection:
        assert missing_columns(connection) == []
    assert differences(engine) == []


def test_an_unsupported_database_gets_no_tables_and_one_sentence(manager, session, monkeypatch, caplog):
    engine = session.get_bind()
    session.rollback()
    manager.downgrade("base")
    with monkeypatch.context() as patch:
        patch.setattr(database, "dialect_name", lambda: "mysql")
        for make in (manager.initdb, manager.upgradedb, set_up_tables, lambda: manager.downgrade("base")):
            caplog.clear()
            make()
            assert [record.getMessage() for record in caplog.records] == [
                "Safe Clear makes no tables: "
                "Airflow runs on MySQL here, and Safe Clear needs PostgreSQL or SQLite."
            ]
            assert tables(engine) == set()
        assert manager.check_migration()
    session.rollback()
    assert not manager.check_migration()
