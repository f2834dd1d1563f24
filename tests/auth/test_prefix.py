"""``[api] base_url`` with a path: Airflow below a prefix."""

from __future__ import annotations

import pytest
from airflow.api_fastapi import app as module
from airflow.api_fastapi.auth.managers.simple import simple_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.auth.application import HOST, SELECTION, Browser, Program, served, token
from tests.support.environment import AUTH_MANAGERS

pytestmark = pytest.mark.airflow32

PREFIX = "/af"
OPTIONS = {
    "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["simple"],
    "AIRFLOW__API__BASE_URL": f"https://airflow.example{PREFIX}",
}


@pytest.fixture(scope="module")
def airflow_app(airflow_db):
    with pytest.MonkeyPatch.context() as patch:
        # What Airflow reads at its import.
        patch.setattr(module, "API_BASE_URL", f"{OPTIONS['AIRFLOW__API__BASE_URL']}/")
        patch.setattr(module, "API_ROOT_PATH", f"{PREFIX}/")
        for where in (module, simple_auth_manager):
            patch.setattr(where, "AUTH_MANAGER_FASTAPI_APP_PREFIX", f"{PREFIX}/auth")
        with served(OPTIONS) as made:
            yield made


def below_prefix(caller):
    caller.prefix = PREFIX
    return caller


def operator():
    return token(SimpleAuthManagerUser(username="maria", role="op"))


@pytest.fixture
def person(airflow_app):
    return below_prefix(Browser(airflow_app, operator()))


@pytest.fixture
def program(airflow_app):
    return below_prefix(Program(airflow_app, operator()))


def test_a_stranger_comes_back_below_the_prefix(dags, airflow_app):
    answer = below_prefix(Browser(airflow_app)).get("/?dag_id=etl")
    assert answer.headers["location"] == (
        "/af/auth/login?next=https%3A%2F%2Fairflow.example%2Faf%2Fpluginsv2%2Fsafe_clear%2F%3Fdag_id%3Detl"
    )


def test_a_page_is_opened_and_sends(dags, person, program):
    assert program.plan()["status"] == "ready"
    made = person.press("/plans", **SELECTION)
    assert (made.status_code, made.headers["location"].startswith("/af/pluginsv2/safe_clear/plans/")) == (
        303,
        True,
    )


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://airflow.example", 303),
        (HOST, 303),
        ("https://airflow.example.evil.example", 403),
        ("https://example", 403),
    ],
)
def test_the_address_that_people_open_is_ours(dags, person, origin, status):
    """A proxy passes its own name on as ``Host``; the browser says the one in its address bar."""
    body = {**SELECTION, "csrf_token": person.csrf_token()}
    assert person.post("/plans", data=body, headers={"Origin": origin}).status_code == status


def test_a_websocket_is_refused_below_the_prefix(dags, person):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), person.client.websocket_connect("/af/pluginsv2/safe_clear/"):
        pass
