"""The list of plans: whose, of which DAGs, filtered, paged."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.api.common.delete_dag import delete_dag
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import update

from tests.support.auth import TEAM_A, bearer, login
from tests.support.scenes import store_etl
from tests.views.actions import apply_all, make, path, post, title

HISTORY = "/safe_clear/plans"


@pytest.fixture(autouse=True)
def dags(session, monkeypatch, auth_manager_name):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    store_etl(session, **ours)
    store_etl(session, "other")


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


OUTCOMES = {
    "ready": "Ready",
    "expired": "Expired",
    "applying": "Clearing",
    "stopped": "Stopped",
    "stale": "Not applied: out of date",
    "applied": "Applied",
    "undone": "Undone: 2 of 2",
}


def test_each_status_and_its_filter(client, session):
    plans = in_every_state(client, session)
    assert set(listed(client)) == {plan["id"] for plan in plans.values()}
    login(client, "admin")
    for status, plan in plans.items():
        assert listed(client, f"?status={status}") == [plan["id"]], status
        page = client.get(f"{HISTORY}?status={status}").text
        assert f'href="{path(plan)}"' in page
        assert f">{OUTCOMES[status]}</span>" in page
        assert f'<option value="{status}" selected>' in page
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(seconds=16), tick=False):
        assert listed(client, "?status=applying") == []
        left = [plans["applying"]["id"], plans["stopped"]["id"]]
        assert listed(client, "?status=stopped") == left
        page = client.get(f"{HISTORY}?status=stopped").text
        assert ">Partly applied</span>" in page
        assert "2 of 4 cleared" in page


def test_newest_first_in_pages(client):
    plans = [make(client, run_id=["run_1"])["id"] for _ in range(5)]
    newest_first = plans[::-1]
    assert listed(client) == newest_first
    assert listed(client, "?limit=2") == newest_first[:2]
    assert listed(client, "?limit=2&offset=4") == newest_first[4:]
    login(client, "admin")
    page = client.get(f"{HISTORY}?limit=2&offset=2&user=adm").text
    assert "3 to 4 of 5 plans" in page
    offsets = re.findall(r'rel="(prev|next)" href="([^"]+)"', page)
    assert [rel for rel, _ in offsets] == ["prev", "next"]
    assert "offset=0" in offsets[0][1]
    assert "offset=4" in offsets[1][1]
    assert all("user=adm" in href for _, href in offsets)


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
    assert "No plans yet" in client.get(HISTORY).text


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
    assert title(empty) == "Plans"
    assert "No plans yet" in empty
    make(client)
    none = client.get(f"{HISTORY}?user=nobody-like-that").text
    assert "No plans match" in none
    assert "No plans yet" not in none


def test_the_links_at_the_top_keep_the_dag(client):
    plan = make(client)
    login(client, "admin")

    def links(address):
        nav = re.search(r"<nav aria-label=\"Safe Clear\">(.*?)</nav>", client.get(address).text, re.DOTALL)[1]
        return re.findall(r'href="([^"]+)"( aria-current="page")?', nav)

    new, all_plans = "/safe_clear/", HISTORY
    current = ' aria-current="page"'
    assert links("/safe_clear/") == [(new, current), (all_plans, "")]
    assert links(HISTORY) == [(new, ""), (all_plans, current)]
    of_dag = [f"{new}?dag_id=etl", f"{all_plans}?dag_id=etl"]
    for address in ("/safe_clear/?dag_id=etl", f"{HISTORY}?dag_id=etl", path(plan), path(plan, "/undo")):
        assert [href for href, _ in links(address)] == of_dag, address
    login(client, "viewer")
    refused = "/safe_clear/?dag_id=etl"
    assert client.get(refused).status_code == 403
    assert [href for href, _ in links(refused)] == of_dag
