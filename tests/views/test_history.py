"""The list of plans: whose, of which DAGs, filtered, paged."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.api.common.delete_dag import delete_dag
from airflow.api_fastapi.app import get_auth_manager
from airflow.models.dag import DagModel
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import update

from safe_clear_plugin.services.plans import get_plan
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import set_clock_forward
from tests.support.scene_cache import write_scene
from tests.support.scenes import store_etl
from tests.views.actions import apply_all, make, path, post, title

HISTORY = "/safe_clear/plans"


@pytest.fixture(autouse=True)
def dags(session, monkeypatch, auth_manager_name):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}

    def write():
        store_etl(session, **ours)
        store_etl(session, "other")

    write_scene(("ours and another",), session, write)


def listed(client, query="", user="admin"):
    answer = client.get(f"{HISTORY}.json{query}", headers=bearer(user))
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["total"] >= len(body["items"])
    return [item["id"] for item in body["items"]]


def in_every_state(client, session):
    """Make a plan in each state that the filter knows, and return them by it."""
    plans = {}
    with time_machine.travel(datetime.now(timezone.utc) - timedelta(minutes=31), tick=False):
        plans["expired"] = make(client)
    plans["undone"] = make(client, run_id=["run_3"])
    apply_all(client, plans["undone"])
    post(client, plans["undone"], "undo")
    plans["applied"] = make(client, run_id=["run_3"])
    apply_all(client, plans["applied"])
    plans["stale"] = make(client, run_id=["run_3"])
    session.execute(update(TaskInstance).where(TaskInstance.run_id == "run_3").values(state="success"))
    session.commit()
    assert post(client, plans["stale"], "apply").status_code == 409
    plans["stopped"] = make(client, run_id=["run_1", "run_2"])
    post(client, plans["stopped"], "apply")
    post(client, plans["stopped"], "stop")
    plans["applying"] = make(client, run_id=["run_2", "run_3"])
    post(client, plans["applying"], "apply")
    plans["ready"] = make(client)
    return plans


DRAFTS = {"ready": "Ready", "expired": "Expired"}
OUTCOMES = {
    "applying": "Clearing",
    "stopped": "Stopped",
    "stale": "Not applied: out of date",
    "applied": "Applied",
    "undone": "Undone",
}


def test_each_status_and_its_filter(client, session):
    plans = in_every_state(client, session)
    assert set(listed(client)) == {plan["id"] for plan in plans.values()}
    login(client, "admin")
    for status, plan in plans.items():
        assert listed(client, f"?status={status}") == [plan["id"]], status
        page = client.get(f"{HISTORY}?drafts=true" if status in DRAFTS else f"{HISTORY}?status={status}").text
        assert f'href="{path(plan)}"' in page
        if status in DRAFTS:
            assert f">{DRAFTS[status]}</span>" in page
            continue
        assert f">{OUTCOMES[status]}</span>" in page
        assert f'<option value="{status}" selected>' in page
    set_clock_forward(session, get_plan(plans["applying"]["id"]), 61)
    assert listed(client, "?status=applying") == []
    assert listed(client, "?status=stopped") == [plans["stopped"]["id"]]
    assert listed(client, "?status=interrupted") == [plans["applying"]["id"]]
    page = client.get(f"{HISTORY}?status=interrupted").text
    assert ">Interrupted</span>" in page
    assert "2 of 4 cleared" in page


def test_newest_first_in_pages(client):
    plans = [make(client, run_id=["run_1"])["id"] for _ in range(5)]
    newest_first = plans[::-1]
    assert listed(client) == newest_first
    assert listed(client, "?limit=2") == newest_first[:2]
    assert listed(client, "?limit=2&offset=4") == newest_first[4:]
    login(client, "admin")
    page = client.get(f"{HISTORY}?drafts=true&limit=2&offset=2&dag_id=etl").text
    assert "3 to 4 of 5 drafts" in page
    offsets = re.findall(r'rel="(prev|next)" href="([^"]+)"', page)
    assert [rel for rel, _ in offsets] == ["prev", "next"]
    assert "offset=0" in offsets[0][1]
    assert "offset=4" in offsets[1][1]
    assert all("drafts=true" in href and "dag_id=etl" in href for _, href in offsets)


def test_by_dag_user_and_date(client):
    ours = make(client, user="operator", run_id=["run_1"])["id"]
    theirs = make(client, dag_id="other", run_id=["run_1"])["id"]
    assert listed(client, "?dag_id=other") == [theirs]
    assert listed(client, "?dag_id=oth") == []
    assert listed(client, "?user=OPER") == [ours]
    assert listed(client, "?user=%25") == []
    assert listed(client, "?mine=true") == [theirs]
    assert listed(client, "?mine=true", user="operator") == [ours]
    assert listed(client, "?mine=false") == [theirs, ours]
    today = datetime.now(timezone.utc).date()
    assert listed(client, f"?date_from={today}&date_to={today}") == [theirs, ours]
    assert listed(client, f"?date_from={today + timedelta(days=1)}") == []
    assert listed(client, f"?date_to={today - timedelta(days=1)}") == []
    assert listed(client, "?dag_id=etl&user=admin") == []


def test_the_page_takes_spoken_dates_and_shows_how_it_reads_them(client):
    plan = make(client)
    login(client, "admin")
    today = datetime.now(timezone.utc).date()
    # Not until `now`: it has no fraction of a second, and the plan was made within this one.
    for since, until, is_listed in (("today", "", True), ("-1d", "today", True), ("", "yesterday", False)):
        page = client.get(f"{HISTORY}?drafts=true&date_from={since}&date_to={until}").text
        assert (plan["id"] in page) == is_listed, (since, until)
    assert f'name="date_to" value="{today - timedelta(days=1)}"' in page


def test_what_cannot_be_read_is_said(client):
    plan = make(client)
    for query in (
        "?status=none",
        "?date_from=yesterday",
        "?date_to=2026-13-01",
        "?date_to=0001-01-01T00:00+14",
        "?status=",
        "?status=ready&status=ready",
        "?state=ready",
        "?mine=yes",
        "?user=%00",
        "?offset=-1",
        "?limit=x",
        "?limit=201",
    ):
        answer = client.get(f"{HISTORY}.json{query}", headers=bearer("admin"))
        assert answer.status_code == 422, query
        assert f"`{query[1:].partition('=')[0]}`" in answer.get_json()["error"]
    assert listed(client) == [plan["id"]]
    login(client, "admin")
    page = client.get(f"{HISTORY}?date_from=<script>")
    assert page.status_code == 422
    assert "<code>date_from</code>: Enter a date" in page.text
    assert client.get(f"{HISTORY}?status=&date_from=&user=").status_code == 200
    assert "<script>" not in page.text.replace('<script src="', "")


def test_only_dags_that_may_be_read(client, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager lets every user read")
    ours, theirs = make(client)["id"], make(client, dag_id="other")["id"]
    assert listed(client, user="operator") == [ours]
    assert listed(client, "?dag_id=other", user="operator") == []
    assert listed(client, user="viewer") == [theirs, ours]
    assert listed(client, user="nobody") == []
    login(client, "operator")
    page = client.get(HISTORY).text
    assert "<bdi>other</bdi>" not in page
    assert '<option value="other">' not in page
    assert '<option value="etl">' in page
    login(client, "nobody")
    assert "Nothing was cleared yet" in client.get(HISTORY).text


def test_a_deleted_dag_keeps_its_plans(client, session):
    plan = make(client)
    apply_all(client, plan)
    answer = client.get("/safe_clear/plans.json", headers=bearer("admin"))
    assert answer.get_json()["total"] == 1
    delete_dag("etl")
    assert listed(client) == [plan["id"]]


def test_nothing_to_list(client):
    login(client, "admin")
    empty = client.get(HISTORY).text
    assert title(empty) == "History"
    assert "Nothing was cleared yet" in empty
    make(client)
    assert "Nothing was cleared yet" in client.get(HISTORY).text
    none = client.get(f"{HISTORY}?user=nobody-like-that").text
    assert "Nothing matches" in none
    assert "Nothing was cleared yet" not in none


def test_the_links_at_the_top_keep_the_dag(client):
    plan = make(client)
    login(client, "admin")

    def links(address):
        nav = re.search(r"<nav aria-label=\"Safe Clear\">(.*?)</nav>", client.get(address).text, re.DOTALL)[1]
        return re.findall(r'href="([^"]+)"( aria-current="page")?', nav)

    start, new, all_plans = "/safe_clear/failed", "/safe_clear/select", HISTORY
    current = ' aria-current="page"'
    assert links(start) == links("/safe_clear/") == [(start, current), (new, ""), (all_plans, "")]
    assert links(new) == [(start, ""), (new, current), (all_plans, "")]
    assert links(HISTORY) == [(start, ""), (new, ""), (all_plans, current)]
    of_dag = [start, f"{new}?dag_id=etl", f"{all_plans}?dag_id=etl"]
    for address in ("/safe_clear/?dag_id=etl", f"{HISTORY}?dag_id=etl", path(plan), path(plan, "/undo")):
        assert [href for href, _ in links(address)] == of_dag, address
    login(client, "viewer")
    refused = "/safe_clear/select?dag_id=etl"
    assert client.get(refused).status_code == 403
    assert [href for href, _ in links(refused)] == of_dag


def test_viewers_land_on_the_history(client):
    login(client, "viewer")
    tab = "?dag_id=etl&task_id=load&run_id=run_1&map_index={MAP_INDEX}"
    for query, wanted in (
        ("", HISTORY),
        ("?dag_id=etl", f"{HISTORY}?dag_id=etl"),
        (tab, f"{HISTORY}?dag_id=etl&task_id=load&run_id=run_1"),
        ("?dag_id=etl&task_id=load&map_index=3", f"{HISTORY}?dag_id=etl&task_id=load&map_index=3"),
    ):
        answer = client.get(f"/safe_clear/{query}")
        assert (answer.status_code, answer.location) == (303, wanted), query
        assert client.get(wanted).status_code == 200
    login(client, "operator")
    assert client.get("/safe_clear/").status_code == 200
    assert client.get(f"/safe_clear/{tab}").status_code == 200


def test_an_airflow_without_dags_in_use_starts_with_what_failed(client, session):
    session.execute(update(DagModel).values(is_stale=True))
    session.commit()
    for role in ("admin", "viewer"):
        login(client, role)
        start = client.get("/safe_clear/")
        assert (start.status_code, "What failed" in start.text) == (200, True), role
    login(client, "admin")
    assert "You can’t clear any Dag" not in client.get("/safe_clear/select").text


def line(client, query):
    page = client.get(f"/safe_clear/{query}").text
    found = re.search(r'<p class="cleared-before">(.*?)</p>', page, re.DOTALL)
    if not found:
        return "", ""
    href = re.search(r'<a href="([^"]+)"', found[1])[1]
    return " ".join(re.sub(r"<[^>]+>", "", found[1]).split()), html.unescape(href)


def test_each_tab_says_how_often_it_was_cleared(client):
    login(client, "admin")
    of_task_instance = "?dag_id=etl&task_id=transform&run_id=run_1&map_index=-1"
    assert line(client, of_task_instance) == ("", "")
    make(client, run_id=["run_1"])  # a draft clears nothing
    for user, runs in (("admin", ["run_1"]), ("admin", ["run_2"]), ("operator", ["run_1", "run_3"])):
        apply_all(client, make(client, user, run_id=runs))
    for query, said in (
        (of_task_instance, "This task instance was cleared 2 times"),
        ("?dag_id=etl&task_id=transform", "This task was cleared 3 times"),
        ("?dag_id=etl&run_id=run_2", "This Dag run was cleared once"),
        ("?dag_id=etl", "This Dag was cleared 3 times"),
    ):
        text, href = line(client, query)
        assert text.startswith(said), query
        # The plans were confirmed by a program of admin's.
        assert re.search(r"(last|on) today \d\d:\d\d by admin\. See the history", text), text
        number = 1 if "once" in said else int(said.split()[-2])
        assert client.get(href).text.count('<td class="at">') == number
    plans = [("^transform$", ["run_1"], "This task instance"), ("", ["run_1"], "This Dag run")]
    for regex, runs, what in [*plans, ("^transform$", None, "This task")]:
        plan = make(client, task_regex=regex or None, run_id=runs, include_downstream=None)
        assert line(client, f"plans/{plan['id']}")[0].startswith(f"{what} was cleared "), what
        assert client.get(f"/safe_clear/plans/{plan['id']}").text.count('class="cleared-before"') == 1
    # The number of clears of the Dag says nothing about some of its tasks and dates.
    plan = make(client, task_regex="^t", include_downstream=None)
    assert line(client, f"plans/{plan['id']}") == ("", "")
    assert line(client, "?dag_id=etl&task_id=extract&run_id=run_1") == ("", "")
    assert line(client, "?dag_id=other") == ("", "")


def test_a_page_does_without_what_takes_too_long_to_count(client, monkeypatch):
    login(client, "admin")
    apply_all(client, make(client, run_id=["run_1"]))
    plan = make(client, run_id=["run_1"], include_downstream=None)
    query = f"plans/{plan['id']}"
    assert line(client, query)[0]
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0.000001")
    assert client.get(f"/safe_clear/{query}").status_code == 200
    assert line(client, query) == ("", "")


def test_what_was_asked_of_airflow_is_not_counted_as_cleared(client, session):
    def ask(count):
        for _ in range(count):
            session.add(Log(event="clear_dag_run", dag_id="etl", run_id="run_1", owner="ann", extra="{}"))
        session.commit()

    login(client, "admin")
    tab = "?dag_id=etl&task_id=transform&run_id=run_1&map_index=-1"
    ask(1)
    assert line(client, tab)[0].startswith("Airflow was asked to clear this task instance once, on today ")
    apply_all(client, make(client, run_id=["run_1"]))
    ask(1)
    both = "This task instance was cleared once with Safe Clear, and Airflow was asked to clear it 2 times"
    assert line(client, tab)[0].startswith(f"{both}, last today ")
    assert " by ann. See the history" in line(client, tab)[0]


def log_clear(session, dag_id, **more):
    """Log a clear as Airflow's API does."""
    session.add(Log(**{"event": "clear_dag_run", "dag_id": dag_id, "owner": "ann", "extra": "{}"} | more))
    session.commit()


@pytest.fixture
def asked(client, monkeypatch):
    """Return what lists the history, and returns what the auth manager was asked about each DAG for it."""
    login(client, "admin")
    questions = []
    manager = get_auth_manager()
    answer = manager.is_authorized_dag

    def note(*, access_entity=None, details=None, **what):
        questions.append((details.id, access_entity))
        return answer(access_entity=access_entity, details=details, **what)

    monkeypatch.setattr(manager, "is_authorized_dag", note)

    def ask(query=""):
        questions.clear()
        assert client.get(f"{HISTORY}{query}").status_code == 200
        return sorted((dag_id, entity.name) for dag_id, entity in questions if entity)

    return ask


SEEN = [("etl", "TASK_INSTANCE"), ("other", "TASK_INSTANCE")]


def test_the_audit_log_is_asked_for_where_it_has_clears(client, session, asked):
    for dag_id in ("other", "etl"):
        make(client, dag_id=dag_id, run_id=["run_1"])
    assert asked() == sorted([*SEEN, ("etl", "AUDIT_LOG")])  # whether it may be read at all
    log_clear(session, "other")
    assert asked() == sorted([*SEEN, ("other", "AUDIT_LOG")])
    assert asked("?dag_id=etl") == [("etl", "AUDIT_LOG"), ("etl", "TASK_INSTANCE")]


def test_each_dag_of_a_clear_of_several_is_asked_for_once(client, session, asked):
    make(client, run_id=["run_1"])
    runs = ", ".join(f'{{"dag_id": "{one}", "dag_run_id": "run_1"}}' for one in ("etl", "other"))
    extra = f'{{"dag_runs": [{runs}], "dry_run": false}}'
    log_clear(session, "~", event="clear_dag_runs", extra=extra)
    assert asked() == sorted([*SEEN, ("etl", "AUDIT_LOG"), ("other", "AUDIT_LOG")])


def test_sorted_by_each_column(client):
    for dag_id, runs in (("etl", ["run_1", "run_2"]), ("other", ["run_1"])):
        apply_all(client, make(client, dag_id=dag_id, run_id=runs))
    login(client, "admin")
    for sort, first in (
        ("", "other"),
        ("at", "etl"),
        ("dag_id", "etl"),
        ("-dag_id", "other"),
        ("task_instances", "other"),
        ("-task_instances", "etl"),
        ("user", "other"),
        ("-outcome", "other"),
    ):
        page = client.get(f"{HISTORY}?sort={sort}" if sort else HISTORY).text
        shown = re.findall(r'<td class="dag"><a [^>]*><b><bdi>(\w+)', page)
        assert shown[0] == first, sort
        name = sort.removeprefix("-") or "at"
        order = "descending" if sort.startswith("-") or not sort else "ascending"
        assert re.search(rf'class="h-{name}[^>]*aria-sort="{order}"', page), sort
    assert client.get(f"{HISTORY}?sort=reason").status_code == 422


def test_a_row_is_one_line_that_unfolds(client):
    plan = make(client, run_id=["run_1", "run_2"])
    apply_all(client, plan, reason="INC-1 & more")
    login(client, "admin")
    page = client.get(f"{HISTORY}?task_id=load").text
    row = re.search(r"<tbody>.*?</tbody>", page, re.DOTALL)[0]
    assert "<code><bdi>transform + downstream</bdi></code>" in row
    assert "<bdi>1 Jan to 2 Jan 2026</bdi>" in row
    assert "INC-1 &amp; more" in row
    assert "Nothing matches" in client.get(f"{HISTORY}?task_id=extract").text
    assert listed(client, "?task_id=load&run_id=run_2") == [plan["id"]]
    assert listed(client, "?task_id=load&run_id=run_3") == []
    assert listed(client, "?task_id=load&map_index=0") == []
