"""SimpleAuthManager: the roles viewer, user, op and admin, the same for every DAG."""

from __future__ import annotations

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import WithLogin
from tests.support.environment import AUTH_MANAGERS

pytestmark = pytest.mark.airflow32

OPTIONS = {"AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["simple"]}


def of_role(role):
    return token(SimpleAuthManagerUser(username=role or "nobody", role=role))


@pytest.fixture
def person(airflow_app):
    return Browser(airflow_app, of_role("op"))


@pytest.fixture
def program(airflow_app):
    return Program(airflow_app, of_role("op"))


class TestEveryMode(WithLogin):
    pass


@pytest.mark.parametrize("role", ["user", "op", "admin"])
def test_every_role_above_viewer_clears(dags, airflow_app, role):
    program = Program(airflow_app, of_role(role))
    assert program.apply(program.plan()).json()["status"] == "applied"


def test_a_viewer_looks_and_is_told_which_role_clears(dags, airflow_app, program, unchanged_by):
    plan = program.plan()
    viewer, onlooker = Program(airflow_app, of_role("viewer")), Browser(airflow_app, of_role("viewer"))
    with unchanged_by():
        assert viewer.get(f"/plans/{plan['id']}.json").status_code == 200
        assert [one["id"] for one in viewer.get("/plans.json").json()["items"]] == [plan["id"]]
        page = onlooker.get(f"/plans/{plan['id']}")
        assert page.status_code == 200
        assert "you need the role <code>user</code>, <code>op</code> or <code>admin</code>" in page.text
        assert "you need the role <code>user</code>" in onlooker.get("/select").text
        for refused in (viewer.post("/plans", json=SELECTION), viewer.apply(plan)):
            assert refused.status_code == 403
            assert "the role `user`, `op` or `admin`" in refused.json()["remedy"]


def test_a_user_without_a_role_sees_nothing(dags, airflow_app, program):
    plan = program.plan()
    nobody = Program(airflow_app, of_role(None))
    assert nobody.get(f"/plans/{plan['id']}.json").status_code == 404
    assert nobody.post("/plans", json=SELECTION).status_code == 404
    assert nobody.get("/plans.json").json() == {
        "total": 0,
        "items": [],
        "unsupported": None,
        "undelivered": [],
    }
    assert nobody.get("/dags.json").json()["items"] == []
