"""What a plan keeps of an error, and what only the log has."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import contextmanager
from uuid import UUID

import pytest
from airflow import settings
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from safe_clear_plugin.airflow_api.clear import clear_runs
from safe_clear_plugin.airflow_api.platform import database_errors
from safe_clear_plugin.storage.clear import before_images
from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.storage.undo import restore
from tests.db.acting import clear, days, plan_of, reread, step, undo
from tests.support.options import chosen
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.sqlite]
on_postgresql = pytest.mark.skipif(not chosen.postgresql, reason="SQLite is no server")


@pytest.fixture(autouse=True)
def dag(session):
    return store_etl(session, runs=2)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.ERROR, logger="safe_clear_plugin.services.failures")
    return caplog


def says_nothing_of_the_database(why):
    """Check that the texts name no host, user, file or statement."""
    told = " ".join(
        str(value) for value in (why if isinstance(why, dict) else why.to_json()).values()
    ).lower()
    url = settings.engine.url
    secrets = ("select ", "update ", "psycopg", "sqlite", "sqlalchemy", "127.0.0.1", "task_instance", "/tmp")
    names = [name for name in (*secrets, url.host, url.username, url.database) if name and name in told]
    # The user of the tests may be called as a word is.
    assert [name for name in names if name not in ("airflow", "postgres")] == []


@contextmanager
def _second_connection():
    engine = create_engine(settings.engine.url)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()


def end_all_connections():
    """End every other session, as a server that is stopped does."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    with _second_connection() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


@on_postgresql
def test_a_database_that_stops_in_the_middle(session, monkeypatch, log):
    plan, real = plan_of(days(1, 2)), before_images.capture
    session.rollback()

    def stopped(*args, **options):
        end_all_connections()
        real(*args, **options)

    monkeypatch.setattr(before_images, "capture", stopped)
    plan = step(plan)
    why = plan.stop_reason
    assert (why.kind, why.code) == ("busy", "database_unreachable")
    says_nothing_of_the_database(why)
    assert why.error_id in why.remedy
    [record] = [one for one in log.records if why.error_id in one.getMessage()]
    assert plan.id in record.getMessage()
    assert record.exc_info
    monkeypatch.undo()
    assert step(plan, resume=True).status == "applied"


@on_postgresql
def test_a_lock_that_does_not_come(session, monkeypatch, log):
    plan, real = plan_of(days(1, 2)), clear_runs.clear

    def waits_too_long(dag_id, dag_runs, cleared, *, session, **options):
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        session.execute(text("LOCK TABLE slot_pool IN ACCESS EXCLUSIVE MODE"))
        return real(dag_id, dag_runs, cleared, session=session, **options)

    session.execute(text("SELECT 1 FROM slot_pool FOR UPDATE")).all()
    monkeypatch.setattr(clear_runs, "clear", waits_too_long)
    why = step(plan).stop_reason
    session.rollback()
    assert why.code == "database_busy"
    says_nothing_of_the_database(why)
    assert "LOCK TABLE" in log.text


@on_postgresql
def test_a_statement_that_takes_too_long(session, monkeypatch, log):
    plan = clear(days(1, 2))

    def endless(*args):
        session = args[-1]
        session.execute(text("SET LOCAL statement_timeout = '50ms'"))
        session.execute(text("SELECT pg_sleep(5)"))

    monkeypatch.setattr(restore, "restore_runs", endless)
    left = undo(plan).left_out
    assert left.code == "statement_timeout"
    says_nothing_of_the_database(left)
    assert "pg_sleep" in log.text


def test_a_statement_that_the_database_refuses(session, monkeypatch, log):
    plan = plan_of(days(1, 2))
    monkeypatch.setattr(
        clear_runs,
        "clear",
        lambda *args, session, **_: session.execute(text("SELECT lost_column FROM task_instance")),
    )
    why = step(plan).stop_reason
    assert why.code == "tables_outdated"
    assert "airflow db migrate" in why.remedy
    says_nothing_of_the_database(why)
    assert "SELECT lost_column" in log.text


def test_an_error_of_our_own_keeps_its_text_from_the_page(session, monkeypatch, log):
    plan = plan_of(days(1, 2))

    def fails(*_, **__):
        raise RuntimeError("cannot read /etc/airflow/secret.cfg")

    monkeypatch.setattr(clear_runs, "clear", fails)
    why = step(plan).stop_reason
    assert (why.kind, why.code) == ("error", "internal_error")
    assert "secret" not in str(why)
    assert "secret.cfg" in log.text


def test_a_reason_that_was_stored_with_the_drivers_words_is_shown_without_them(session):
    plan = plan_of(days(1, 2))
    old = {
        "kind": "busy",
        "reason": 'The metadata DB did not take the batch: connection to "10.0.0.5", user "airflow".',
        "remedy": "Resume.",
    }
    session.execute(
        update(plan_table).where(plan_table.c.id == UUID(plan.id)).values(status="stopped", problem=old)
    )
    session.commit()
    found = reread(plan, session).stop_reason
    assert found.to_json() == {**old, "reason": "The metadata database did not save the batch."}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database is locked"), "database_busy"),
        (sqlite3.OperationalError("unable to open database file"), "database_unreachable"),
        (sqlite3.OperationalError("no such table: safe_clear_plan"), "tables_outdated"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "database_read_only"),
        (sqlite3.OperationalError("database or disk is full"), "database_full"),
        (sqlite3.OperationalError("near SELECT: syntax error"), "database_error"),
    ],
    ids=str,
)
def test_each_error_of_sqlite_has_its_kind(error, kind):
    assert database_errors.kind_of(OperationalError("SELECT 1", {}, error)) == kind


def test_a_pool_without_a_free_connection_is_busy():
    assert database_errors.kind_of(PoolTimeout("QueuePool limit of size 5 overflow 10 reached")) == (
        "database_busy"
    )
