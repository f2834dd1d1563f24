"""What a page and a program are told of an error: no host, user or statement, but where the log has it."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import create_engine, text

from safe_clear_plugin.storage.plans import plan_reader
from tests.support.auth import TEAM_A, login
from tests.support.scenes import store_etl
from tests.views.actions import get, make, path

SECRETS = (
    "127.0.0.1",
    "meta_owner",
    "metadata_prod",
    "psycopg",
    "sqlalchemy",
    "SELECT",
    "sqlite",
    "nothing_there",
)


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    return store_etl(session, **({"access_control": TEAM_A} if auth_manager_name == "fab" else {}))


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.ERROR, logger="safe_clear_plugin.services.failures")
    return caplog


@pytest.fixture
def unreachable(monkeypatch):
    """A metadata DB that nobody answers for."""
    engine = create_engine("postgresql+psycopg://meta_owner:hidden@127.0.0.1:1/metadata_prod")

    def stop():
        monkeypatch.setattr(plan_reader, "get", lambda plan_id, session: engine.connect())

    yield stop
    engine.dispose()


def test_a_database_that_cannot_be_reached(client, unreachable, log):
    plan = make(client)
    unreachable()
    login(client, "admin")
    page = client.get(path(plan))
    program = get(client, plan, ".json")
    assert (page.status_code, program.status_code) == (503, 503)
    body = program.get_json()
    assert body["code"] == "database_unreachable"
    assert "Can't reach" in body["error"]
    assert body["error_id"] in body["remedy"]
    assert [word for word in SECRETS if word in page.text or word in program.text] == []
    assert "127.0.0.1" in log.text
    assert body["error_id"] in log.text


def test_a_statement_that_fails(client, monkeypatch, log):
    plan = make(client)
    monkeypatch.setattr(
        plan_reader, "get", lambda plan_id, session: session.execute(text("SELECT nothing_there FROM dag"))
    )
    login(client, "admin")
    page = client.get(path(plan))
    assert page.status_code == 503
    assert "airflow db migrate" in page.text
    assert [word for word in SECRETS if word in page.text] == []
    assert "nothing_there" in log.text


def test_an_error_that_nobody_foresaw(client, app, monkeypatch, log):
    plan = make(client)

    def fails(*_):
        raise RuntimeError("cannot read /etc/airflow/secret.cfg")

    monkeypatch.setattr(plan_reader, "get", fails)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    login(client, "admin")
    page, program = client.get(path(plan)), get(client, plan, ".json")
    assert (page.status_code, program.status_code) == (500, 500)
    assert program.get_json()["code"] == "internal_error"
    assert "secret" not in page.text + program.text
    assert program.get_json()["error_id"] in log.text
