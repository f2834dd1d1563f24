"""An auth manager whose own middleware says who the user is, such as Keycloak's since Airflow 3.3."""

from __future__ import annotations

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.auth.application import Browser, Program, token
from tests.auth.every_mode import WithLogin
from tests.auth.split_manager import ACCESS_COOKIE, PROGRAM
from tests.support.options import AIRFLOW_32

pytestmark = pytest.mark.skipif(AIRFLOW_32, reason="Airflow 3.2 has no middlewares of auth managers")

OPTIONS = {"AIRFLOW__CORE__AUTH_MANAGER": "tests.auth.split_manager.SplitAuthManager"}


def named(name):
    return token(SimpleAuthManagerUser(username=name, role="op"))


@pytest.fixture
def person(airflow_app):
    person = Browser(airflow_app, named("maria"))
    person.client.cookies.set(ACCESS_COOKIE, "given", domain="testserver.local", path="/")
    return person


@pytest.fixture
def program(airflow_app):
    return Program(airflow_app, named(PROGRAM))


class TestEveryMode(WithLogin):
    pass


def test_half_of_the_cookies_is_no_login(dags, airflow_app):
    assert Browser(airflow_app, named("maria")).get("/").status_code == 302
