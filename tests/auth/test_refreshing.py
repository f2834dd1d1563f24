"""An auth manager with ``refresh_user``, such as Keycloak's: a middleware renews what a cookie grants."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.dag import DagModel

from safe_clear_plugin.airflow_api.auth import permissions
from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import WithLogin
from tests.auth.refreshing_manager import RefreshingAuthManager, Server
from tests.support.factories import BUNDLE_NAME, make_run
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.airflow32

OPTIONS = {"AIRFLOW__CORE__AUTH_MANAGER": "tests.auth.refreshing_manager.RefreshingAuthManager"}


@pytest.fixture(autouse=True)
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(RefreshingAuthManager, "server", server)
    return server


@pytest.fixture
def person(airflow_app, server):
    return Browser(airflow_app, token(RefreshingAuthManager.log_in()))


@pytest.fixture
def program(airflow_app, server):
    return Program(airflow_app, token(RefreshingAuthManager.log_in(refresh_token=False)))


class TestEveryMode(WithLogin):
    pass


def test_a_browser_goes_on_when_its_rights_are_renewed(dags, person, server):
    csrf_token = person.csrf_token()
    for moment in (1, 2, 3):
        server.now = moment
        answer = person.press("/plans", csrf_token=csrf_token, **SELECTION)
        assert answer.status_code == 303, answer.text
        assert "_token=" in answer.headers["set-cookie"]
        assert len(server.spent) == moment
    assert person.get("/plans").status_code == 200
    assert len(server.spent) == 3


def test_whoever_renewed_the_rights_the_next_request_has_them(dags, person, server):
    server.now = 1
    assert person.airflow() == 200
    assert person.get("/?dag_id=etl").status_code == 200
    server.now = 2
    assert person.get("/?dag_id=etl").status_code == 200
    assert person.airflow() == 200
    assert len(server.spent) == 2


def test_a_cookie_that_another_request_has_renewed_leads_to_the_login(
    dags, airflow_app, person, server, unchanged_by
):
    """Two tabs send the same cookie at once: the second comes too late, and loses its cookie."""
    late = Browser(airflow_app)
    late.client.cookies = person.client.cookies
    old = dict(late.client.cookies)
    csrf_token = person.csrf_token()
    server.now = 1
    assert person.get("/").status_code == 200
    for _ in range(2):
        late = Browser(airflow_app, old["_token"])
        answer = late.get("/?dag_id=etl")
        assert (answer.status_code, "/auth/login" in answer.headers["location"]) == (302, True)
        assert "_token" not in late.client.cookies
    with unchanged_by():
        late = Browser(airflow_app, old["_token"])
        assert late.press("/plans", csrf_token=csrf_token, **SELECTION).status_code == 401
    assert len(server.spent) == 1


def test_a_programs_rights_run_out_as_in_airflows_api(dags, program, server, unchanged_by):
    plan = program.plan()
    server.now = 1
    with unchanged_by():
        assert program.airflow("/api/v2/dags/etl") == 403
        assert program.get(f"/plans/{plan['id']}.json").status_code == 404
        assert program.apply(plan).status_code == 404
    assert server.spent == []


@pytest.fixture
def many_dags(dags, session):
    session.add_all(
        DagModel(dag_id=f"dag_{number:03}", bundle_name=BUNDLE_NAME, is_stale=False) for number in range(300)
    )
    session.commit()


def test_a_list_of_dags_does_not_ask_for_all_of_them(many_dags, airflow_app, server, monkeypatch):
    monkeypatch.setattr(permissions, "ASKING_SECONDS", 0)
    program = Program(airflow_app, token(RefreshingAuthManager.log_in()))
    found = program.get("/dags.json").json()
    assert (len(found["items"]), found["more"]) == (50, True)
    assert len(server.asked) <= 4 * permissions.ASKED_AT_ONCE
    server.asked.clear()
    assert [one["dag_id"] for one in program.get("/dags.json?q=dag_299").json()["items"]] == ["dag_299"]
    assert len(server.asked) <= 2


def test_who_may_clear_nothing_is_not_asked_for_every_dag(many_dags, airflow_app, server, monkeypatch):
    monkeypatch.setattr(permissions, "ASKING_SECONDS", 0)
    viewer = Browser(airflow_app, token(RefreshingAuthManager.log_in(role="viewer")))
    page = viewer.get("/select")
    # Nobody knows that there is no DAG that they may clear, so that one can be typed.
    assert 'id="dag_id"' in page.text
    assert len(server.asked) <= permissions.ASKED_AT_ONCE


def test_what_failed_does_not_ask_for_every_dag(many_dags, airflow_app, server, session, monkeypatch):
    for number in range(120):
        run = make_run(
            store_etl(session, f"failed_{number:03}", runs=0), session=session, run_id="run_1", state="failed"
        )
        run.end_date = START + timedelta(minutes=number)
    session.commit()
    monkeypatch.setattr(permissions, "ASKING_SECONDS", 0)
    program = Program(airflow_app, token(RefreshingAuthManager.log_in()))
    whole = f"/failed.json?from={START:%Y-%m-%d}&to={START:%Y-%m-%d}"
    found = program.get(whole).json()
    assert (found["total"], found["complete"]) == (permissions.ASKED_AT_ONCE, False)
    # The latest failure is asked for first.
    assert found["items"][0]["dag_id"] == "failed_119"
    assert len(server.asked) <= 2 * permissions.ASKED_AT_ONCE
    assert program.get(f"{whole}&dag_id_regex=failed_00").json()["complete"]
    page = Browser(airflow_app, token(RefreshingAuthManager.log_in())).get(whole.replace(".json", "")).text
    assert "Checking your permissions took too long" in page


def test_a_list_of_plans_does_not_ask_for_all_their_dags(dags, program, server, session, monkeypatch):
    from sqlalchemy import insert, select

    from safe_clear_plugin.storage.tables import plan as plans

    made = program.plan()
    row = dict(session.execute(select(plans)).one()._mapping)
    copies = [
        {**row, "id": row["id"].__class__(int=number), "dag_id": f"dag_{number:03}"}
        for number in range(1, 200)
    ]
    session.execute(
        insert(plans), [{**copy, "created_at": copy["created_at"].replace(year=2025)} for copy in copies]
    )
    session.commit()
    monkeypatch.setattr(permissions, "ASKING_SECONDS", 0)
    server.asked.clear()
    found = program.get("/plans.json").json()
    assert (found["items"][0]["id"], found["total"]) == (made["id"], permissions.ASKED_AT_ONCE)
    assert len(server.asked) == permissions.ASKED_AT_ONCE
    server.asked.clear()
    assert program.get("/plans.json?dag_id=dag_199").json()["total"] == 1
    assert server.asked == ["dag_199"]
    page = Browser(program.client.app, token(RefreshingAuthManager.log_in())).get("/plans").text
    assert "Checking your permissions took too long" in page
