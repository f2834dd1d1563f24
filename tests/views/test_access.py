"""Who may see and clear what."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from safe_clear_plugin.storage.tables import plan as plan_table
from tests.support.auth import TEAM_A, bearer, login
from tests.support.scene_cache import write_scene
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

SELECTION = {"dag_id": "etl", "run_id": ["run_1"]}


@pytest.fixture
def dags(session, auth_manager_name):
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}

    def write():
        store_etl(session, **ours)
        store_etl(session, "other")

    write_scene(("ours and another",), session, write)


def make(client, user, **body):
    return client.post("/safe_clear/plans", json={**SELECTION, **body}, headers=bearer(user))


def apply(client, user, plan, **headers):
    return client.post(
        f"/safe_clear/plans/{plan['id']}/apply",
        json={"fingerprint": plan["fingerprint"]},
        headers={**bearer(user), **headers},
    )


def test_anonymous_goes_to_the_login_and_comes_back(client, dags):
    response = client.get("/safe_clear/?dag_id=etl")
    assert response.status_code == 302
    assert "/auth/login" in response.location
    assert "next=" in response.location
    assert "safe_clear" in response.location


@pytest.mark.parametrize("token", ["", "nonsense", "eyJhbGciOiJub25lIn0.e30."])
def test_a_program_without_a_valid_token_is_refused(client, dags, token):
    response = client.post("/safe_clear/plans", json=SELECTION, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401


def test_a_bad_bearer_token_is_not_saved_by_a_good_cookie(client, dags):
    login(client, "admin")
    response = client.get("/safe_clear/plans/0.json", headers={"Authorization": "Bearer nonsense"})
    assert response.status_code == 401


def test_a_viewer_sees_plans_and_clears_nothing(client, session, dags):
    plan = make(client, "admin").get_json()
    assert client.get(f"/safe_clear/plans/{plan['id']}.json", headers=bearer("viewer")).status_code == 200
    before = snapshot(session)
    assert make(client, "viewer").status_code == 403
    assert apply(client, "viewer", plan).status_code == 403
    assert diff_snapshots(before, snapshot(session)) == {}
    login(client, "viewer")
    page = client.get(f"/safe_clear/plans/{plan['id']}")
    assert page.status_code == 200
    assert "/apply" not in page.text
    assert client.get("/safe_clear/select?dag_id=etl").status_code == 403
    empty = client.get("/safe_clear/select")
    assert empty.status_code == 200
    assert "You can’t clear any Dag" in empty.text
    assert '<option value="etl">' not in empty.text


def test_nobody_sees_nothing(client, dags, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager lets every user read")
    plan = make(client, "admin").get_json()
    for path in (
        f"plans/{plan['id']}",
        f"plans/{plan['id']}.json",
        f"plans/{plan['id']}/task_instances.json",
    ):
        assert client.get(f"/safe_clear/{path}", headers=bearer("nobody")).status_code == 404
    assert make(client, "nobody").status_code == 404
    assert make(client, "nobody", dag_id="does_not_exist").status_code == 404


def test_an_operator_clears_the_dags_of_their_team_only(client, session, dags, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    assert make(client, "operator").status_code == 201
    foreign = make(client, "admin", dag_id="other").get_json()
    before = snapshot(session)
    assert make(client, "operator", dag_id="other").status_code == 404
    assert apply(client, "operator", foreign).status_code == 404
    assert diff_snapshots(before, snapshot(session)) == {}
    offered = client.get("/safe_clear/dags.json", headers=bearer("operator")).get_json()
    assert [item["dag_id"] for item in offered["items"]] == ["etl"]


def test_a_plan_that_does_not_exist(client, dags):
    for plan_id in ("0", "nonsense", "0" * 32, "%00", "..%2f"):
        assert client.get(f"/safe_clear/plans/{plan_id}", headers=bearer("admin")).status_code == 404


def csrf(client):
    return re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]


def test_a_post_by_cookie_needs_the_token_of_its_user(client, session, dags):
    login(client, "operator")
    foreign = csrf(client)
    login(client, "admin")
    own = csrf(client)
    before = snapshot(session)
    for token in (None, "", "x", own[:-1], foreign):
        data = {**SELECTION} if token is None else {**SELECTION, "csrf_token": token}
        assert client.post("/safe_clear/plans", data=data).status_code == 403, token
        assert (
            client.post(
                "/safe_clear/plans", json=SELECTION, headers={"X-CSRF-Token": token or ""}
            ).status_code
            == 403
        )
    assert diff_snapshots(before, snapshot(session)) == {}
    assert client.post("/safe_clear/plans", data={**SELECTION, "csrf_token": own}).status_code == 303
    assert client.post("/safe_clear/plans", json=SELECTION, headers={"X-CSRF-Token": own}).status_code == 201


def test_a_proxys_own_credentials_are_not_ours(client, dags):
    """A proxy with Basic authentication before Airflow has the browser send them with every request."""
    login(client, "admin")
    basic = {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    assert client.get("/safe_clear/", headers=basic).content_type.startswith("text/html")
    sent = client.post("/safe_clear/plans", data={**SELECTION, "csrf_token": csrf(client)}, headers=basic)
    assert sent.status_code == 303


def test_refusals_lead_on(client, dags):
    plan = make(client, "admin").get_json()
    path = f"/safe_clear/plans/{plan['id']}"
    data = {"fingerprint": plan["fingerprint"]}
    left = client.post(f"{path}/apply", data=data)
    assert left.status_code == 401
    way = re.search(r'<a class="btn go" href="([^"]+)">Log in to Airflow', left.text)[1]
    assert "/auth/login" in way
    assert f"plans%2F{plan['id']}" in way
    login(client, "admin")
    old = client.post(f"{path}/apply", data=data)
    assert old.status_code == 403
    assert f'href="{path}">See the plan' in old.text


@pytest.mark.parametrize("step", ["apply", "ask", "decline", "stop", "rest", "without", "widen"])
def test_the_address_of_a_form_leads_back_to_the_plan(client, dags, step):
    plan = make(client, "admin").get_json()
    path = f"/safe_clear/plans/{plan['id']}"
    assert client.get(f"{path}/{step}", headers=bearer("admin")).status_code == 405
    login(client, "admin")
    page = client.get(f"{path}/{step}")
    assert page.status_code == 303
    assert page.location == path


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_methods_that_an_address_does_not_have(client, dags, method):
    plan = make(client, "admin").get_json()
    path = f"/safe_clear/plans/{plan['id']}.json"
    answer = client.open(path, method=method, headers=bearer("admin"))
    assert answer.status_code == 404
    assert method in answer.get_json()["error"]
    assert "Content-Security-Policy" in answer.headers


def test_whoever_only_looks_is_offered_nothing_that_is_refused(client, dags):
    plan = make(client, "admin").get_json()
    login(client, "admin")
    again = f"/safe_clear/select?plan={plan['id']}"
    assert again in client.get(f"/safe_clear/plans/{plan['id']}").text
    login(client, "viewer")
    assert again not in client.get(f"/safe_clear/plans/{plan['id']}").text


def test_nobody_is_handed_the_words_of_another(client, session, dags):
    plan = make(client, "admin").get_json()
    session.execute(update(plan_table).values(reason="the words of admin"))
    session.commit()
    login(client, "admin")
    assert client.get(f"/safe_clear/plans/{plan['id']}").text.count("the words of admin") == 2
    login(client, "operator")
    page = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert 'id="confirm"' in page
    assert "the words of admin" not in page


def test_the_tables_are_missing(client, session, dags, monkeypatch):
    from safe_clear_plugin.services import availability
    from safe_clear_plugin.storage.plans import plan_reader
    from safe_clear_plugin.storage.tables import metadata

    availability.forget()
    bind = session.get_bind()
    metadata.drop_all(bind)
    try:
        login(client, "admin")
        page = client.get("/safe_clear/")
        assert page.status_code == 503
        assert "airflow db migrate" in page.text
        program = make(client, "admin")
        assert program.status_code == 503
        assert "airflow db migrate" in program.get_json()["remedy"]
    finally:
        metadata.create_all(bind)
    assert plan_reader.tables_exist(session)
    assert client.get("/safe_clear/").status_code == 200
