"""FAB's auth manager, with roles that have exactly the rights that docs/permissions.md names."""

from __future__ import annotations

import re

import pytest
from airflow.api_fastapi.app import get_auth_manager

from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import WithLogin
from tests.auth.fab_users import AUDITING, CLEARING, READING, TABS, make_user
from tests.support.environment import AUTH_MANAGERS
from tests.support.options import AIRFLOW_32

pytestmark = pytest.mark.airflow32

OPTIONS = {"AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["fab"]}


@pytest.fixture
def clearing(airflow_app, session):
    return token(make_user(session, "maria", CLEARING))


@pytest.fixture
def person(airflow_app, clearing):
    return Browser(airflow_app, clearing)


@pytest.fixture
def program(airflow_app, clearing):
    return Program(airflow_app, clearing)


@pytest.fixture
def having(airflow_app, session):
    """Return a program and a browser of a new user with these rights."""

    def make(*rights, name="jo"):
        made = token(make_user(session, name, rights))
        return Program(airflow_app, made), Browser(airflow_app, made)

    return make


class TestEveryMode(WithLogin):
    pass


def test_the_documented_rights_are_those_that_are_tested():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text()
    rows = re.findall(r"^\| (see plans|see who|create|use the tabs)[^|]*\| ([^|]*) \|", page, re.MULTILINE)
    named = {
        what: {(action, resource) for action, resource in re.findall(r"`(can_\w+)` on \*([^*]+)\*", cell)}
        for what, cell in rows
    }
    assert named == {
        "see plans": READING,
        "see who": AUDITING,
        "create": CLEARING - READING,
        "use the tabs": TABS,
    }


def test_everything_that_is_done_with_a_plan(dags, having):
    program, person = having(*CLEARING)
    plan = program.plan(include_downstream=True)
    path = f"/plans/{plan['id']}"
    for address in ("", "/grid", "/rows", "/progress.json", "/task_instances.json", "/task_instances.csv"):
        assert person.get(path + address).status_code == 200, address
    for finding in plan["findings"]:
        assert program.get(f"{path}/findings/{finding['code']}.json").status_code in (200, 404)
    assert person.press("/answers", **SELECTION).status_code == 200
    assert program.apply(plan).status_code == 200
    assert program.post(f"{path}/stop", json={}).status_code == 200
    assert program.get(f"{path}/undo.json").status_code == 200
    assert person.get(f"{path}/undo").status_code == 200
    assert program.post(f"{path}/undo", json={}).status_code == 202


def test_a_second_person_needs_the_same_rights(dags, having, program, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    plan = program.plan(include_downstream=True)
    path = f"/plans/{plan['id']}"
    assert program.post(f"{path}/ask", json={"reason": "bad rates"}).status_code == 200
    reader, _ = having(*READING)
    assert reader.post(f"{path}/decline", json={"reason": "no"}).status_code == 403
    second, _ = having(*CLEARING, name="ann")
    assert second.apply(plan).json()["status"] == "applied"


def test_reading_alone_shows_everything_and_clears_nothing(dags, having, program, unchanged_by):
    plan = program.plan()
    reader, onlooker = having(*READING)
    needed = ("`can_edit` on `DAG Runs`", "`can_edit` on `Task Instances`", "`can_edit` on `DAG:etl`")
    with unchanged_by():
        assert reader.get("/plans.json").json()["total"] == 1
        page = onlooker.get(f"/plans/{plan['id']}")
        assert (page.status_code, "/apply" in page.text) == (200, False)
        empty = onlooker.get("/select").text
        for refused in (reader.post("/plans", json=SELECTION), reader.apply(plan)):
            assert refused.status_code == 403
            assert all(right in refused.json()["remedy"] for right in needed)
        for right in needed:
            assert re.sub("`([^`]+)`", r"<code>\1</code>", right) in page.text
    assert "You can’t clear any Dag" in empty
    assert "<code>can_edit</code> on <code>DAG Runs</code>" in empty
    assert "can_read" not in empty


@pytest.mark.parametrize("right", sorted(CLEARING - READING), ids=" on ".join)
def test_without_one_right_to_edit_it_is_named(dags, having, program, unchanged_by, right):
    plan = program.plan()
    lacking, onlooker = having(*(CLEARING - {right}))
    action, resource = right
    named = f"`{action}` on `{'DAG:etl` or on `DAGs' if resource == 'DAGs' else resource}`"
    with unchanged_by():
        for refused in (lacking.post("/plans", json=SELECTION), lacking.apply(plan)):
            assert refused.status_code == 403
            assert refused.json()["remedy"] == f"Ask an Airflow admin for {named}."
        assert lacking.get("/dags.json").json()["items"] == []
        assert lacking.get(f"/plans/{plan['id']}.json").status_code == 200
        history = onlooker.get("/?dag_id=etl")
        assert (history.status_code, history.headers["location"].endswith("/plans?dag_id=etl")) == (303, True)


@pytest.mark.parametrize("resource", ["DAG Runs", "Task Instances"])
def test_without_one_right_to_read_it_is_named(dags, having, program, unchanged_by, resource):
    plan = program.plan()
    lacking, _ = having(*(CLEARING - {("can_read", resource)}))
    with unchanged_by():
        for refused in (
            lacking.get(f"/plans/{plan['id']}.json"),
            lacking.post("/plans", json=SELECTION),
            lacking.apply(plan),
        ):
            assert refused.status_code == 403
            assert refused.json()["remedy"] == f"Ask an Airflow admin for `can_read` on `{resource}`."
        assert lacking.get("/plans.json").json()["total"] == 0
        assert lacking.get("/dags.json").json()["items"] == []


def test_a_dag_that_one_may_not_see_does_not_exist(dags, having, program, unchanged_by):
    plan, foreign = program.plan(), program.plan(dag_id="other")
    one = {(action, "DAG:etl" if resource == "DAGs" else resource) for action, resource in CLEARING}
    member, _ = having(*one)
    nobody, _ = having(*(CLEARING - {("can_read", "DAGs")}), name="ann")
    with unchanged_by():
        for refused in (
            member.get(f"/plans/{foreign['id']}.json"),
            member.apply(foreign),
            member.post("/plans", json={**SELECTION, "dag_id": "other"}),
            nobody.get(f"/plans/{plan['id']}.json"),
            nobody.post("/plans", json=SELECTION),
        ):
            assert refused.status_code == 404
        assert [item["dag_id"] for item in member.get("/plans.json").json()["items"]] == ["etl"]
        assert [item["dag_id"] for item in member.get("/dags.json").json()["items"]] == ["etl"]
    assert member.apply(plan).json()["status"] == "applied"


def test_the_tabs_need_the_right_to_read_plugins(dags, having):
    without, _ = having(*CLEARING)
    assert without.airflow("/api/v2/plugins") == 403
    reader, _ = having(*READING, *TABS, name="ann")
    shown = reader.client.get("/api/v2/plugins").json()["plugins"]
    [ours] = [plugin for plugin in shown if plugin["name"] == "safe_clear"]
    places = {view["destination"] for view in ours["external_views"]}
    assert places == {"nav", "dag", "dag_run", "task", "task_instance"}


def test_a_token_that_was_revoked_is_no_login(dags, airflow_app, clearing, person, program):
    get_auth_manager().revoke_token(clearing)
    assert person.get("/").status_code == 302
    assert Program(airflow_app, clearing).post("/plans", json=SELECTION).status_code == 401


def test_a_bearer_token_that_is_not_airflows_counts_as_in_airflows_api(dags, person, unchanged_by):
    """A proxy before Airflow may add its own: 3.2 asks the cookie first, 3.3 the token."""
    csrf_token = person.csrf_token()
    foreign = {"Authorization": "Bearer of.the.proxy"}
    page = person.get("/?dag_id=etl", headers=foreign)
    with unchanged_by():
        form = person.post("/plans", data=SELECTION, headers=foreign)
    body = {**SELECTION, "csrf_token": csrf_token}
    made = person.post("/plans", data=body, headers=foreign)
    if AIRFLOW_32:
        assert person.airflow(headers=foreign) == 200
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert (form.status_code, made.status_code) == (403, 303)
    else:
        assert person.airflow(headers=foreign) == 403
        assert (page.status_code, form.status_code, made.status_code) == (302, 401, 401)


def test_a_proxy_that_adds_airflows_own_token_gets_pages(dags, airflow_app, clearing, unchanged_by):
    """Its users' browsers send no cookie, and what another site makes them send is refused."""
    person = Browser(airflow_app)
    person.client.headers["Authorization"] = f"Bearer {clearing}"
    assert person.get("/?dag_id=etl").headers["content-type"].startswith("text/html")
    assert person.press("/plans", **SELECTION).status_code == 303
    with unchanged_by():
        headers = {"Origin": "https://evil.example"}
        assert person.post("/plans", data=SELECTION, headers=headers).status_code == 403


@pytest.mark.parametrize("values", [("good", "bad"), ("bad", "good")], ids="then ".join)
def test_of_two_cookies_the_same_counts_as_in_airflows_api(dags, airflow_app, clearing, values):
    sent = "; ".join(f"_token={clearing if value == 'good' else value}" for value in values)
    person = Browser(airflow_app)
    allowed = person.airflow(headers={"Cookie": sent}) == 200
    assert (person.get("/", headers={"Cookie": sent}).status_code == 200) is allowed


def test_other_origins_that_airflow_allows_may_send_for_programs(dags, program, person, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "https://portal.example")
    headers = {"Origin": "https://portal.example", "Sec-Fetch-Site": "cross-site"}
    assert program.post("/plans", json=SELECTION, headers=headers).status_code == 201
    assert person.post("/plans", data=SELECTION, headers=headers).status_code == 403
