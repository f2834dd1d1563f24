"""What a request meets where Safe Clear's tables were never made."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from safe_clear_plugin.services import availability
from safe_clear_plugin.storage import table_setup
from safe_clear_plugin.storage.tables import metadata
from tests.support.auth import bearer

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture(autouse=True)
def _no_tables(session, monkeypatch):
    monkeypatch.setattr(availability, "_own_tables_seen", threading.Event())
    session.close()
    with session.get_bind().begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version_safe_clear"))
    yield
    session.close()
    table_setup.set_up_tables()


def test_without_the_option_it_says_what_to_do(client):
    answer = client.get("/safe_clear/plans.json", headers=bearer("admin"))
    assert answer.status_code == 503
    assert answer.get_json()["remedy"].startswith("Run `airflow db migrate`.")
    assert "create_tables" in answer.get_json()["remedy"]


def test_with_the_option_they_are_made(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CREATE_TABLES", "True")
    answer = client.get("/safe_clear/plans.json", headers=bearer("admin"))
    assert (answer.status_code, answer.get_json()["total"]) == (200, 0)


def test_nobody_who_is_not_logged_in_makes_them(client, monkeypatch, session):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CREATE_TABLES", "True")
    assert client.get("/safe_clear/plans.json").status_code == 401
    assert not table_setup.are_current(session)
