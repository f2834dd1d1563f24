"""The tabs in Airflow's UI: the preview of each, its switches, and the drafts that they leave."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import func, select

from safe_clear_plugin.storage.tables import plan as plan_table
from tests.support.auth import TEAM_A, bearer, login
from tests.support.factories import make_run, set_states
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.threads import wait_for_clean_up
from tests.views.actions import apply_all, forms, make, path, post, press, press_and_follow, title

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

TAB = "/safe_clear/tab"
NOW = datetime.now(timezone.utc)
FAILED = {"extract": "success", "transform": "failed", "load": "upstream_failed"}


def fail(session, *, ago=timedelta(hours=1), states=FAILED, dag_id="etl", **options):
    """Store a DAG with one run that failed so long ago, and one that did not."""
    dag = store_etl(session, dag_id, runs=0, **options)
    run = make_run(dag, session=session, run_id="bad", task_state="success", state="failed")
    set_states(run, states, session=session, end_date=NOW - ago)
    make_run(dag, session=session, run_id="good", task_state="success")
    return dag


@pytest.fixture
def open_tab(client):
    def get(user="admin", **query):
        login(client, user)
        return client.get(TAB, query_string={"dag_id": "etl", **query})

    return get


def fields(page, form="opening"):
    """Return the values that a form of the page sends, without its token."""
    (found,) = [one for one in forms(page) if one["id"] == form]
    return {name: value for name, value in found["fields"] if name != "csrf_token"}


def switches(page):
    return dict(re.findall(r'<input type="checkbox" id="switch-(\w+)"[^>]*?value="true"( checked)?', page))


def drafts(session):
    session.expire_all()
    return session.scalar(select(func.count()).select_from(plan_table))


def test_a_task_instance_comes_with_what_is_downstream(client, session, open_tab):
    fail(session)
    page = open_tab(run_id="bad", task_id="transform", map_index="{MAP_INDEX}").text
    assert title(page) == "Preview of transform"
    found = press_and_follow(client, page, "opening")
    assert title(found) == "Clear 2 task instances in 1 run of etl"
    assert switches(found) == {
        "include_upstream": "",
        "include_downstream": " checked",
        "include_past": "",
        "include_future": "",
        "only_failed": "",
    }


@pytest.mark.parametrize(("run", "setups"), [("bad", "true"), ("good", "false")])
def test_setups_come_with_a_task_instance_that_failed(session, open_tab, run, setups):
    fail(session)
    assert fields(open_tab(run_id=run, task_id="transform").text)["include_setups"] == setups


@pytest.mark.parametrize(("run", "planned", "only_failed"), [("bad", 2, " checked"), ("good", 3, "")])
def test_of_a_dag_run_what_failed_or_all_of_it(client, session, open_tab, run, planned, only_failed):
    fail(session)
    page = press_and_follow(client, open_tab(run_id=run).text, "opening")
    assert title(page) == f"Clear {planned} task instances in 1 run of etl"
    assert switches(page)["only_failed"] == only_failed


@pytest.mark.parametrize("task", [{}, {"task_id": "transform"}])
def test_of_a_dag_and_a_task_the_last_failures(client, session, open_tab, task):
    fail(session)
    page = press_and_follow(client, open_tab(**task).text, "opening")
    assert title(page) == "Clear 2 task instances in 1 run of etl"
    assert switches(page).keys() == {"include_upstream", "include_downstream"}


@pytest.mark.parametrize("failure", [{"ago": timedelta(days=8)}, {"states": {}}])
def test_without_a_recent_failure_the_form_is_there_and_says_so(session, open_tab, failure):
    fail(session, **failure)
    page = open_tab(task_id="load").text
    assert "No failure of this task in the last 7 days" in page
    assert title(page) == "What should run again?"
    assert 'value="^load$"' in page
    assert 'value="etl"' in page


def test_a_link_on_another_site_previews_nothing_by_itself(client, session):
    fail(session)
    login(client, "admin")
    query = {"dag_id": "etl", "run_id": "bad"}
    for site, at_once in (("cross-site", False), ("same-origin", True), ("none", True)):
        page = client.get(TAB, query_string=query, headers={"Sec-Fetch-Site": site}).text
        assert ("data-at-once" in page) is at_once
        # Its button is also there with scripts.
        assert ('class="btn go unscripted"' in page) is at_once
    assert title(press_and_follow(client, page, "opening")).startswith("Clear 2 task instances")


def test_opening_a_tab_writes_nothing(client, session, open_tab):
    fail(session)
    login(client, "admin")
    before = snapshot(session)
    for query in ({}, {"run_id": "bad"}, {"run_id": "bad", "task_id": "load"}, {"task_id": "load"}):
        assert open_tab(**query).status_code == 200
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_preview_needs_the_token_of_the_page(client, session, open_tab):
    fail(session)
    page = open_tab(run_id="bad").text
    sent = fields(page)
    for more in ({}, {"csrf_token": "x"}):
        assert client.post("/safe_clear/previews", data={**sent, **more}).status_code == 403
    elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    token = dict(forms(page)[0]["fields"])["csrf_token"]
    answer = client.post("/safe_clear/previews", data={**sent, "csrf_token": token}, headers=elsewhere)
    assert answer.status_code == 403
    assert drafts(session) == 0


def test_a_viewer_is_led_to_the_history(session, open_tab):
    fail(session)
    answer = open_tab("viewer", run_id="bad", task_id="load", map_index="{MAP_INDEX}")
    assert answer.status_code == 303
    assert answer.location == "/safe_clear/plans?dag_id=etl&task_id=load&run_id=bad"


def test_an_unseen_dag_and_one_that_there_is_not_answer_alike(client, session, open_tab, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    fail(session, access_control=TEAM_A)
    fail(session, dag_id="other")
    hidden = open_tab("operator", dag_id="other", run_id="bad")
    missing = open_tab("operator", dag_id="none", run_id="bad")
    assert hidden.status_code == missing.status_code == 404
    assert title(hidden.text) == title(missing.text)
    assert open_tab("operator", run_id="bad").status_code == 200


def test_a_dag_that_is_not_parsed_says_so(client, session, open_tab):
    from airflow.models.dag import DagModel

    fail(session)
    session.add(DagModel(dag_id="unparsed", bundle_name="tests", fileloc="/x.py", relative_fileloc="x.py"))
    session.commit()
    answer = press(client, open_tab(dag_id="unparsed", run_id="bad").text, "opening")
    assert answer.status_code == 422
    assert "has no serialized version" in title(answer.text)
    assert "Edit selection" in answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"dag_id": ""}, "Choose a Dag"),
        ({"map_index": "x"}, "whole number"),
        ({"run": "bad"}, "Unknown field"),
        ({"run_id": "x" * 300}, "characters"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(session, open_tab, query, words):
    fail(session)
    answer = open_tab(**query)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_selection_without_a_plan_says_why_and_what_would_have_one(client, session, open_tab):
    fail(session)
    sent = fields(open_tab(run_id="good", task_id="transform").text)
    page = press_page(client, {**sent, "only_failed": "true"})
    assert page.status_code == 422
    assert "Failed" in title(page.text)
    assert re.search(
        r'<a class="btn[^"]*" href="/safe_clear/select\?dag_id=etl[^"]*">Edit selection</a>', page.text
    )
    edit = html.unescape(re.search(r'href="([^"]*)">Edit selection', page.text)[1])
    form = client.get(edit).text
    assert 'value="^transform$"' in form
    assert "good" in form


def press_page(client, data, to="/safe_clear/previews"):
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]
    return client.post(to, data={**data, "csrf_token": token})


def test_each_switch_previews_with_all_the_rest_kept(client, session, open_tab):
    fail(session)
    page = press_and_follow(client, open_tab(run_id="bad", task_id="transform").text, "opening")
    kept = fields(page, "switches")
    assert kept["run_id"] == "bad"
    for turned_on, planned in (
        ({}, 1),
        ({"include_downstream": "true"}, 2),
        ({"include_upstream": "true"}, 2),
        ({"include_upstream": "true", "only_failed": "true"}, 1),
        ({"include_future": "true"}, 2),
    ):
        sent = {name: value for name, value in kept.items() if name not in switches(page)}
        answer = press_page(client, {**sent, **turned_on})
        assert answer.status_code == 303, answer.text
        found = client.get(answer.location).text
        assert re.search(rf"Clear {planned} task instances? in", title(found)), (turned_on, title(found))
        assert {name for name, on in switches(found).items() if on} == set(turned_on)


@pytest.mark.parametrize(
    "filters",
    [
        {"state": ["failed"]},
        {"state": ["success", "failed"]},
        {"state": ["failed", "upstream_failed"]},
        {"failed_from": "2020-01-01"},
    ],
)
def test_only_failed_is_not_offered_where_it_would_replace_another_filter(client, session, filters):
    fail(session)
    login(client, "admin")
    plan = make(client, run_id=["bad"], task_regex=None, include_downstream=None, **filters)
    page = client.get(path(plan)).text
    assert set(switches(page)) == {"include_upstream", "include_downstream", "include_past", "include_future"}
    kept = fields(page, "switches")
    assert {"state", "failed_from"} & set(kept) == set(filters)
    assert kept["include_setups"] == "false"


def test_only_failed_on_and_off_leaves_the_plan_as_it_was(client, session):
    def kept(page):
        return {name: value for name, value in fields(page, "switches").items() if name not in switches(page)}

    fail(session)
    login(client, "admin")
    plan = make(client, run_id=["bad"], task_regex=None, include_downstream=None)
    first = client.get(path(plan)).text
    on = client.get(press_page(client, {**kept(first), "only_failed": "true"}).location).text
    assert switches(on)["only_failed"]
    off = client.get(press_page(client, kept(on)).location).text
    assert kept(off) == kept(first)
    assert title(off) == title(first)


def test_a_program_may_ask_for_only_failed_in_place_of_other_states(client, session):
    fail(session)
    only = client.post(
        "/safe_clear/previews",
        json={"dag_id": "etl", "run_id": ["bad"], "state": ["success"], "only_failed": True},
        headers=bearer("admin"),
    )
    assert only.status_code == 201
    assert only.get_json()["selection"]["state"] == ["failed", "upstream_failed"]
    assert only.get_json()["selection"]["include_setups"] is True


def test_how_often_it_was_cleared_is_said_at_once(client, session, open_tab):
    fail(session)
    page = press_and_follow(client, open_tab(run_id="bad", task_id="transform").text, "opening")
    assert "was cleared" not in page
    apply_all(client, make(client, run_id=["bad"]))
    set_states(bad_run(session), FAILED, session=session, end_date=NOW)
    for query, what in (
        ({"run_id": "bad", "task_id": "transform"}, "This task instance was cleared once"),
        ({"run_id": "bad"}, "This Dag run was cleared once"),
    ):
        page = press_and_follow(client, open_tab(**query).text, "opening")
        assert what in " ".join(page.split()), query


def bad_run(session):
    session.expire_all()
    return session.scalars(select(DagRun).where(DagRun.run_id == "bad")).one()


def test_the_reason_comes_along(client, session, open_tab):
    fail(session)
    sent = fields(open_tab(run_id="bad").text)
    answer = press_page(client, {**sent, "reason": "late ledger"})
    assert ">late ledger</textarea>" in client.get(answer.location).text


def test_a_draft_is_removed_by_its_author(client, session):
    fail(session)
    plan = make(client, run_id=["bad"])
    assert post(client, plan, "discard").get_json() == {"discarded": plan["id"]}
    wait_for_clean_up()
    assert drafts(session) == 0
    assert post(client, plan, "discard").status_code == 404


def test_a_plan_that_is_no_draft_of_the_callers_stays(client, session, monkeypatch):
    fail(session)
    own = make(client, run_id=["bad"])
    assert post(client, own, "discard", "viewer").status_code == 403
    others = make(client, "operator" if can_clear(client, "operator") else "admin", run_id=["bad"])
    apply_all(client, own)
    assert post(client, own, "discard").status_code == 409
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    asked = make(client, run_id=["good"], task_regex=None, include_downstream=None)
    assert post(client, asked, "ask", reason="please").status_code == 200
    assert post(client, asked, "discard").status_code == 409
    wait_for_clean_up()
    assert {own["id"], others["id"], asked["id"]} <= ids(session)


def can_clear(client, user):
    return client.get("/safe_clear/dags.json", headers=bearer(user)).get_json()["items"] != []


def ids(session):
    session.expire_all()
    return {UUID(str(one)).hex for one in session.scalars(select(plan_table.c.id))}


def test_a_draft_of_somebody_else_stays(client, session, auth_manager_name):
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    fail(session, **ours)
    theirs = make(client, "operator", run_id=["bad"])
    answer = post(client, theirs, "discard")
    assert answer.status_code == 409
    assert "isn't a draft of yours" in answer.get_json()["error"]
    assert ids(session) == {theirs["id"]}


def test_a_discarded_draft_cannot_be_confirmed(client, session, monkeypatch):
    from safe_clear_plugin.services import retention

    fail(session)
    monkeypatch.setattr(retention, "clean_up_beside", lambda now: None)
    plan = make(client, run_id=["bad"])
    post(client, plan, "discard")
    assert post(client, plan, "apply").status_code == 410


def test_who_decides_on_a_plan_or_looks_at_it_has_no_switches(
    client, session, monkeypatch, auth_manager_name
):
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    fail(session, **ours)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    plan = make(client, run_id=["bad"])
    login(client, "admin")
    assert 'id="switches"' in client.get(path(plan)).text
    login(client, "viewer")
    assert 'id="switches"' not in client.get(path(plan)).text
    post(client, plan, "ask", reason="please")
    for user in ("admin", "operator"):
        login(client, user)
        assert 'id="switches"' not in client.get(path(plan)).text, user


def test_the_author_reads_that_the_approver_acknowledges(client, session, monkeypatch):
    fail(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "0")
    dag_run = make(client, run_id=["good"], task_regex="^extract$", include_downstream=None)
    login(client, "admin")
    page = client.get(path(dag_run)).text
    assert 'name="acknowledge"' in page
    assert "for the approver" not in page
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    many = make(client, run_id=["good", "bad"], task_regex="^extract$", include_downstream=None)
    page = client.get(path(many)).text
    assert 'name="acknowledge"' not in page
    assert "for the approver" in page
