"""The fixtures of the view tests themselves, under each auth manager."""

from __future__ import annotations

import asyncio

import pytest
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from flask import g, has_request_context

from tests.support import auth
from tests.support.factories import make_run, store_dag

TOKEN_COOKIE = "_token"


@pytest.fixture(autouse=True)
def _dags(session):
    for dag_id, access_control in (("ours", auth.TEAM_A), ("theirs", auth.TEAM_B)):
        with DAG(dag_id, schedule=None, access_control=access_control) as dag:
            EmptyOperator(task_id="only")
        store_dag(dag, session=session)
        make_run(dag, session=session)


def may(name: str, method: str, dag_id: str) -> bool:
    user = asyncio.run(get_auth_manager().get_user_from_token(auth.token(name)))
    return get_auth_manager().is_authorized_dag(
        method=method, access_entity=DagAccessEntity.TASK_INSTANCE, details=DagDetails(id=dag_id), user=user
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("admin", {"read ours", "clear ours", "read theirs", "clear theirs"}),
        ("operator", {"read ours", "clear ours"}),
        ("viewer", {"read ours", "read theirs"}),
        ("nobody", set()),
    ],
)
def test_what_each_user_may(auth_manager_name, name, expected):
    if auth_manager_name == "simple" and name == "operator":
        expected = {"read ours", "clear ours", "read theirs", "clear theirs"}
    actions = {
        f"{word} {dag_id}"
        for dag_id in ("ours", "theirs")
        for word, method in (("read", "GET"), ("clear", "PUT"))
        if may(name, method, dag_id)
    }
    assert actions == expected


def test_configured_auth_manager(auth_manager_name):
    assert type(get_auth_manager()).__name__.lower().startswith(auth_manager_name)


def test_login_sets_the_cookie_and_logout_removes_it(client):
    auth.login(client, "operator")
    assert client.get_cookie(TOKEN_COOKIE).value.count(".") == 2
    auth.logout(client)
    assert client.get_cookie(TOKEN_COOKIE) is None


def test_bearer_token_is_a_users(client):
    scheme, token = auth.bearer("viewer")["Authorization"].split()
    user = asyncio.run(get_auth_manager().get_user_from_token(token))
    assert (scheme, user.get_name()) == ("Bearer", "viewer")


def test_requests_do_not_share_their_context(client):
    assert not has_request_context()
    assert client.get("/no-such-page").status_code == 404
    g.user_of_the_first_request = "admin"
    assert client.get("/no-such-page").status_code == 404
    assert "user_of_the_first_request" not in g
