"""``[fab] auth_role_public``: whoever has not logged in has a role of their own."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from safe_clear_plugin.storage.tables import plan as plans
from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import EveryMode
from tests.auth.fab_users import CLEARING, READING, make_role, make_user
from tests.support.environment import AUTH_MANAGERS
from tests.support.options import AIRFLOW_32

pytestmark = pytest.mark.skipif(AIRFLOW_32, reason="Airflow 3.2 does not let the public role in either")

ROLE = "Everybody"
OPTIONS = {
    "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["fab"],
    "AIRFLOW__FAB__AUTH_ROLE_PUBLIC": ROLE,
}


@pytest.fixture
def reading(airflow_app, session):
    make_role(session, ROLE, READING)


@pytest.fixture
def member(airflow_app, session):
    return token(make_user(session, "maria", CLEARING))


class TestWhoHasLoggedIn(EveryMode):
    @pytest.fixture
    def person(self, airflow_app, reading, member):
        return Browser(airflow_app, member)

    @pytest.fixture
    def program(self, airflow_app, member):
        return Program(airflow_app, member)


class TestEverybodyWhereTheRoleMayClear(EveryMode):
    @pytest.fixture(autouse=True)
    def _clearing(self, airflow_app, session):
        make_role(session, ROLE, CLEARING)

    @pytest.fixture
    def person(self, airflow_app):
        return Browser(airflow_app)

    @pytest.fixture
    def program(self, airflow_app):
        return Program(airflow_app, None)


def test_everybody_looks_and_is_offered_the_login(dags, airflow_app, reading, member, unchanged_by):
    plan = Program(airflow_app, member).plan()
    stranger, program = Browser(airflow_app), Program(airflow_app, None)
    with unchanged_by():
        assert program.airflow() == 200
        assert program.get("/plans.json").json()["total"] == 1
        page = stranger.get(f"/plans/{plan['id']}")
        assert (page.status_code, "/apply" in page.text) == (200, False)
        refused = stranger.get("/?dag_id=etl")
        assert refused.status_code == 403
        assert "Log in to Airflow" in refused.text
        assert "dag_id%3Detl" in refused.text
        answer = program.post("/plans", json=SELECTION)
        assert answer.status_code == 403
        assert "`can_edit` on `DAG Runs`" in answer.json()["remedy"]
        assert program.apply(plan).status_code == 403


def test_everybody_without_a_right_sees_nothing(dags, airflow_app, session, member):
    plan = Program(airflow_app, member).plan()
    make_role(session, ROLE, [("can_read", "Website")])
    stranger = Browser(airflow_app)
    missing = stranger.get(f"/plans/{plan['id']}")
    assert missing.status_code == 404
    assert "Log in to Airflow" in missing.text
    assert Program(airflow_app, None).get("/plans.json").json() == {
        "total": 0,
        "items": [],
        "unsupported": None,
        "undelivered": [],
    }


def test_everybody_has_one_name_on_record(dags, airflow_app, session):
    make_role(session, ROLE, CLEARING)
    Program(airflow_app, None).plan()
    assert session.execute(select(plans.c.created_by, plans.c.created_by_name)).all() == [
        ("Anonymous", "Anonymous")
    ]


def test_a_bad_token_is_not_everybodys(dags, airflow_app, reading):
    """As in Airflow's API; the browser loses the cookie, and is one of everybody from then on."""
    assert Program(airflow_app, "nonsense").get("/plans.json").status_code == 401
    person = Browser(airflow_app, "nonsense")
    assert person.get("/plans").status_code == 302
    assert person.get("/plans").status_code == 200
