"""What a request meets where Airflow runs on a database that Safe Clear makes no tables on."""

from __future__ import annotations

import threading

import pytest

from safe_clear_plugin.airflow_api.platform import database
from safe_clear_plugin.services import availability
from tests.support.auth import bearer, login
from tests.support.statements import statements

pytestmark = [pytest.mark.airflow32]

SENTENCE = "Airflow runs on {} here, and Safe Clear needs PostgreSQL or SQLite."
PLAN = {"dag_id": "etl", "task_regex": "x", "date_from": "2026-01-01", "date_to": "2026-01-31"}


@pytest.fixture(autouse=True)
def _mysql(monkeypatch):
    monkeypatch.setattr(availability, "_own_tables_seen", threading.Event())
    monkeypatch.setattr(database, "dialect_name", lambda: "mysql")


@pytest.mark.parametrize("create_tables", ["False", "True"])
def test_programs_are_told_before_our_tables_are_touched(client, session, monkeypatch, create_tables):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CREATE_TABLES", create_tables)
    with statements(session) as sent:
        answers = [
            client.get("/safe_clear/plans.json", headers=bearer("admin")),
            client.post("/safe_clear/plans", json=PLAN, headers=bearer("admin")),
        ]
    for answer in answers:
        body = answer.get_json()
        assert (answer.status_code, body["code"]) == (503, "unsupported_database")
        assert body["error"] == SENTENCE.format("MySQL")
        assert "PostgreSQL" in body["remedy"]
    assert not [one for one in sent if "safe_clear" in one]


def test_a_person_sees_the_sentence_once_on_each_page(client):
    login(client, "admin")
    for address in ("/safe_clear/", "/safe_clear/plans", "/safe_clear/?dag_id=etl"):
        page = client.get(address)
        assert (page.status_code, page.text.count(SENTENCE.format("MySQL"))) == (503, 1), page.text


def test_a_database_without_a_name_goes_by_its_dialect(client, monkeypatch):
    monkeypatch.setattr(database, "dialect_name", lambda: "cockroachdb")
    answer = client.get("/safe_clear/plans.json", headers=bearer("admin"))
    assert answer.get_json()["error"] == SENTENCE.format("cockroachdb")


def test_strangers_learn_nothing_of_the_database(client):
    answer = client.get("/safe_clear/plans.json")
    assert answer.status_code == 401
    assert "MySQL" not in answer.text
