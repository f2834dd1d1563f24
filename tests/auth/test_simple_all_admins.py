"""``[core] simple_auth_manager_all_admins``: nobody logs in, and everybody is an admin.

Airflow adds a bearer token to every request, a browser's too: it tells nothing of the caller.
"""

from __future__ import annotations

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import EveryMode
from tests.support.environment import AUTH_MANAGERS

pytestmark = pytest.mark.airflow32

OPTIONS = {
    "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["simple"],
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
}


@pytest.fixture
def person(airflow_app):
    return Browser(airflow_app)


@pytest.fixture
def program(airflow_app):
    return Program(airflow_app, None)


class TestEveryMode(EveryMode):
    pass


def own_token(app):
    """Return a token as a program gets it here: by asking."""
    return Browser(app).client.get("/auth/token").json()["access_token"]


def test_a_programs_own_token_is_taken(dags, airflow_app):
    program = Program(airflow_app, own_token(airflow_app))
    plan = program.plan()
    assert program.post(f"/plans/{plan['id']}/stop").status_code == 200
    assert program.apply(plan).json()["status"] == "applied"


def test_the_first_token_counts_as_in_airflows_api(dags, airflow_app, unchanged_by):
    viewer = Program(airflow_app, token(SimpleAuthManagerUser(username="eve", role="viewer")))
    stranger = Program(airflow_app, "nonsense")
    with unchanged_by():
        assert viewer.post("/plans", json=SELECTION).status_code == 403
        assert (stranger.post("/plans", json=SELECTION).status_code, stranger.airflow()) == (401, 403)


def test_a_program_without_a_token_sends_json(dags, program, unchanged_by):
    plan = program.plan()
    with unchanged_by():
        for sent in ({"data": SELECTION}, {}, {"content": "{}", "headers": {"Content-Type": "text/plain"}}):
            answer = program.post(f"/plans/{plan['id']}/stop", **{"headers": {}, **sent})
            assert answer.status_code == 403
            assert "application/json" in answer.text
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert program.post(f"/plans/{plan['id']}/stop", content="{}", headers=headers).status_code == 200


def test_a_cookie_of_the_login_changes_nothing(dags, person, unchanged_by):
    login = person.client.get("/auth/token/login")
    assert "_token" in login.headers["set-cookie"]
    with unchanged_by():
        assert person.post("/plans", data=SELECTION).status_code == 403
    assert person.press("/plans", **SELECTION).status_code == 303
