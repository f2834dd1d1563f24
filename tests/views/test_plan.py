"""The plan's page, its JSON, and confirming it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest
import time_machine
from sqlalchemy import text, update

from safe_clear_plugin.storage.tables import metadata
from tests.support.auth import bearer, login
from tests.support.driving import drive
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.scenes import START, etl_dag, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.threads import wait_for_clean_up
from tests.views.actions import to_tick, words

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

OWN = {table.name for table in metadata.sorted_tables}


@pytest.fixture
def dag(session):
    return store_etl(session)


def make(client, **body):
    body = {"dag_id": "etl", "task_regex": "^transform$", "include_downstream": True, **body}
    if "date_from" not in body and "run_id" not in body:
        body.update(date_from="2026-01-01", date_to="2026-01-02")
    response = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert response.status_code == 201, response.text
    return response.get_json()


def get(client, plan, rest=".json"):
    return client.get(f"/safe_clear/plans/{plan['id']}{rest}", headers=bearer("admin"))


def apply(client, plan, **body):
    """Have it cleared, and send the same again once a driver is done."""
    send = partial(
        client.post,
        f"/safe_clear/plans/{plan['id']}/apply",
        json={"fingerprint": plan["fingerprint"], "acknowledge": to_tick(plan), **body},
        headers=bearer("admin"),
    )
    answer = send()
    if answer.status_code != 202:
        return answer
    drive(plan["id"])
    return send()


def rows(client, plan, query=""):
    return get(client, plan, f"/task_instances.json{query}").get_json()


def test_the_plan_as_json(client, dag):
    plan = make(client)
    assert plan["status"] == "ready"
    assert plan["counts"] == {
        "task_instances": 4,
        "dag_runs": 2,
        "by_state": {"failed": 2, "upstream_failed": 2},
    }
    assert [run["run_id"] for run in plan["dag_runs"]] == ["run_1", "run_2"]
    assert plan["dag_runs"][0]["before"] == {"state": "failed"}
    assert plan["dag_runs"][0]["after"] == {"state": "queued"}
    assert plan["dag_runs"][0]["logical_date"] == "2026-01-01T00:00:00+00:00"
    assert plan["selection"]["task_regex"] == "^transform$"
    assert "downstream" in plan["sentence"]
    assert plan["created_by"]
    made, ends = (datetime.fromisoformat(plan[name]) for name in ("created_at", "expires_at"))
    assert ends - made == timedelta(minutes=30)
    assert get(client, plan).get_json() == plan


def test_its_task_instances_are_paged_and_filtered(client, session, dag):
    plan = make(client)
    everything = rows(client, plan)
    assert everything["total"] == 4
    assert [(row["run_id"], row["task_id"], row["why"]) for row in everything["items"]] == [
        ("run_1", "load", "downstream of transform"),
        ("run_1", "transform", "matched"),
        ("run_2", "load", "downstream of transform"),
        ("run_2", "transform", "matched"),
    ]
    first = everything["items"][0]
    assert first["before"]["state"] == "upstream_failed"
    assert first["after"] == {"state": None, "max_tries": first["before"]["try_number"]}
    assert rows(client, plan, "?offset=3&limit=2")["items"] == everything["items"][3:]
    assert rows(client, plan, "?task=loa")["total"] == 2
    assert rows(client, plan, "?state=failed&run=run_2")["total"] == 1
    assert rows(client, plan, "?why=down")["total"] == 2
    assert rows(client, plan, "?task=%25")["total"] == 0


def test_the_page_shows_what_is_stored(client, dag):
    plan = make(client)
    login(client, "admin")
    page = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert "Clear 4 task instances in 2 runs of etl" in page
    assert "<dt>Tasks</dt><dd><code>^transform$</code>" in page
    assert (
        "<dt>Runs</dt><dd><bdi>with logical date from Thu 2026-01-01 00:00 UTC to Fri 2026-01-02 23:59 UTC"
        in page
    )
    assert "run_1" in page
    assert "run_3" not in page[page.index('id="task-instances"') :]
    assert plan["fingerprint"] in page
    assert "downstream of transform" in page
    only_load = client.get(f"/safe_clear/plans/{plan['id']}?task=load").text
    assert "downstream of transform" in only_load
    assert ">matched<" not in only_load


def planned_cells(page: str) -> list[tuple[str, str]]:
    """Return the look and the words of each cell of the grid that is of the plan, line by line."""
    words = dict(re.findall(r'<span id="(g-[^"]+|[^"]+)">([^<]*)</span>', page))
    cells = re.findall(r'<td class="([^"]*)" aria-labelledby="([^"]*)"', page)
    return [(look, words.get(name, name)) for look, name in cells if " to-" in look]


def test_the_page_renders_only_what_is_stored(client, session, dag):
    """Whatever happens to Airflow's rows, the plan shows what it showed."""
    plan = make(client)
    login(client, "admin")
    path = f"/safe_clear/plans/{plan['id']}"
    moment = datetime.fromisoformat(plan["created_at"]) + timedelta(minutes=1)
    # The grid shows the plan amid what is there now; of the plan itself it shows what is stored.
    strip = re.compile(r'name="csrf_token" value="[^"]+"|<div id="grid".*?</section>', re.DOTALL)
    with time_machine.travel(moment, tick=False):
        whole = client.get(path).text
        before, planned = strip.sub("", whole), planned_cells(whole)
        session.execute(text("UPDATE task_instance SET state = 'success'"))
        session.execute(text("DELETE FROM dag_run WHERE run_id = 'run_2'"))
        session.commit()
        whole = client.get(path).text
        assert (strip.sub("", whole), planned_cells(whole)) == (before, planned)
        assert len(planned) == plan["counts"]["task_instances"] + plan["counts"]["dag_runs"]


def test_confirmed_it_is_done_and_said(client, session, dag):
    plan = make(client)
    before = snapshot(session)
    response = apply(client, plan, reason="bad source data")
    assert response.status_code == 200, response.text
    assert response.get_json()["status"] == "applied"
    assert get(client, plan).get_json()["reason"] == "bad source data"
    changed = diff_snapshots(before, snapshot(session))
    assert set(changed) <= OWN | {"task_instance", "task_instance_history", "dag_run", "log"}
    assert {(r["run_id"], r["task_id"]) for r in changed["task_instance"]["added"]} == {
        (run, task) for run in ("run_1", "run_2") for task in ("transform", "load")
    }
    assert {row["run_id"] for row in changed["dag_run"]["added"]} == {"run_1", "run_2"}
    audit = changed["log"]["added"]
    assert len(audit) == 4
    assert all(plan["id"] in row["extra"] and "bad source data" in row["extra"] for row in audit)
    assert {row["event"] for row in audit} == {"safe_clear"}
    login(client, "admin")
    page = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert "Cleared 4 task instances in 2 runs of etl" in page
    assert "/dags/etl/runs/run_1" in page
    progress = get(client, plan, "/progress.json").get_json()
    assert progress["by_state"] == [[None, 4]]
    assert progress["finished"] is False
    assert (progress["done"], progress["total"], progress["interrupted"]) == (4, 4, False)


def test_confirmed_on_the_page(client, session, dag):
    plan = make(client)
    login(client, "admin")
    path = f"/safe_clear/plans/{plan['id']}"
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)[1]
    form = {"csrf_token": token, "fingerprint": plan["fingerprint"], "reason": "  why\x00 not "}
    response = client.post(path + "/apply", data=form)
    assert response.status_code == 303
    assert response.location.endswith(path)
    assert get(client, plan).get_json()["reason"] == "why not"


def test_twice_clears_once(client, session, dag):
    plan = make(client)
    assert apply(client, plan).status_code == 200
    before = snapshot(session)
    assert apply(client, plan).get_json()["status"] == "applied"
    assert diff_snapshots(before, snapshot(session)) == {}


def test_another_fingerprint_is_another_plan(client, session, dag):
    plan = make(client)
    before = snapshot(session)
    for fingerprint in ("0" * 64, make(client, run_id=["run_3"])["fingerprint"]):
        assert apply(client, {**plan, "fingerprint": fingerprint}).status_code == 409
    for body in ({}, {"fingerprint": ""}, {"fingerprint": None}, {"fingerprint": ["x"]}):
        response = client.post(f"/safe_clear/plans/{plan['id']}/apply", json=body, headers=bearer("admin"))
        assert response.status_code == 422
        assert list(response.get_json()["errors"]) == ["fingerprint"]
    assert set(diff_snapshots(before, snapshot(session))) <= OWN


def test_an_expired_plan(client, session, dag):
    plan = make(client)
    before = snapshot(session)
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(minutes=31), tick=False):
        assert get(client, plan).get_json()["status"] == "expired"
        response = apply(client, plan)
        assert response.status_code == 410
        assert "expired" in response.get_json()["error"]
        login(client, "admin")
        page = client.get(f"/safe_clear/plans/{plan['id']}").text
        assert "Preview again" in page
    assert diff_snapshots(before, snapshot(session)) == {}


def test_what_moved_is_shown_and_nothing_is_cleared(client, session, dag):
    from airflow.models.taskinstance import TaskInstance

    plan = make(client)
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == "run_2", TaskInstance.task_id == "load")
        .values(state="success", try_number=2)
    )
    session.commit()
    before = snapshot(session)
    response = apply(client, plan)
    assert response.status_code == 409
    assert response.get_json()["drift"] == [
        {
            "what": "task_instance",
            "run_id": "run_2",
            "task_id": "load",
            "map_index": -1,
            "before": "upstream_failed, try 0",
            "before_state": "upstream_failed",
            "before_try": 0,
            "now": "success, try 2",
            "now_state": "success",
            "now_try": 2,
            "attribute": None,
            "how": "its state changed",
        }
    ]
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}
    login(client, "admin")
    page = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert "Nothing was cleared" in page
    assert "Preview again" in page
    moved = re.search(r'<table class="rows moved">.*?</table>', page, re.DOTALL)[0]
    assert "Upstream Failed try 0 now Success try 2" in words(moved)
    assert apply(client, plan).status_code == 409


def test_a_changed_dag_makes_the_plan_stale(client, session, dag):
    plan = make(client)
    store_dag(etl_dag(max_active_runs=2), session=session, new_version=True)
    before = snapshot(session)
    login(client, "admin")
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]
    response = client.post(
        f"/safe_clear/plans/{plan['id']}/apply",
        data={"csrf_token": token, "fingerprint": plan["fingerprint"]},
    )
    assert response.status_code == 409
    assert "Nothing was cleared" in response.text
    assert "version 2" in response.text
    assert "max_active_runs of the Dag changed" in response.text
    assert set(diff_snapshots(before, snapshot(session))) <= {"safe_clear_plan"}


def test_a_deleted_dag(client, session, dag):
    plan = make(client)
    for table in ("task_instance", "dag_run", "serialized_dag", "dag_code", "dag_version"):
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()
    response = apply(client, plan)
    assert response.status_code == 409
    drift = response.get_json()["drift"][0]
    assert "no longer has a serialized version" in drift["how"]
    assert (drift["now"], drift["now_state"]) == ("none", None)


def test_running_task_instances_and_a_paused_dag_are_found(client, session):
    dag = store_etl(session, runs=1, is_paused=True)
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "running", "load": None}, session=session)

    plan = make(client, run_id=["live"])
    assert {finding["code"] for finding in plan["findings"]} == {
        "running_left_out",
        "upstream_unfinished",
        "dag_paused",
        "cost",
    }
    assert plan["counts"]["task_instances"] == 1
    effects = {row["task_id"]: row["effect"] for row in rows(client, plan)["items"]}
    assert effects == {"transform": "leave_out", "load": "clear"}

    killing = make(client, run_id=["live"], running="terminate")
    assert {finding["code"] for finding in killing["findings"]} == {
        "running_terminated",
        "dag_paused",
        "cost",
        "not_undoable",
    }
    after = {row["task_id"]: row["after"]["state"] for row in rows(client, killing)["items"]}
    assert after == {"transform": "restarting", "load": None}
    assert apply(client, killing).status_code == 200
    session.expire_all()
    assert {ti.task_id: ti.state for ti in task_instances(run, session=session)} == {
        "extract": "success",
        "transform": "restarting",
        "load": None,
    }


def test_only_running_ones_match(client, session):
    dag = store_etl(session, runs=1)
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"transform": "running"}, session=session)
    response = client.post(
        "/safe_clear/plans",
        json={"dag_id": "etl", "run_id": ["live"], "task_regex": "^transform$"},
        headers=bearer("admin"),
    )
    assert response.status_code == 422
    assert "running" in response.get_json()["errors"]


def test_runs_keep_their_state_when_asked(client, session, dag):
    plan = make(client, reset_dag_runs=False)
    assert {run["after"]["state"] for run in plan["dag_runs"]} == {"failed"}
    assert apply(client, plan).status_code == 200
    session.expire_all()
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    runs = session.scalars(select(DagRun)).all()
    assert {(run.state, run.clear_number) for run in runs} == {("failed", 0)}


def test_expired_plans_go_away_and_applied_ones_stay(client, session, dag):
    old, used = make(client), make(client, run_id=["run_3"])
    assert apply(client, used).status_code == 200
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(days=2), tick=False):
        new = make(client, run_id=["run_1"])
        wait_for_clean_up()
        assert get(client, old).status_code == 404
        assert get(client, used).status_code == 200
        assert get(client, new).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_apply_takes_post_only(client, session, dag, method):
    plan = make(client)
    before = snapshot(session)
    response = getattr(client, method)(f"/safe_clear/plans/{plan['id']}/apply", headers=bearer("admin"))
    assert response.status_code in (404, 405)
    assert diff_snapshots(before, snapshot(session)) == {}


def test_names_from_the_database_are_escaped(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", ".*")
    nasty = "run<script>alert(1)</script>\"'&\u202e"
    dag = store_etl(session, runs=1)
    run = make_run(dag, session=session, run_id=nasty, logical_date=START.replace(day=7), state="failed")
    set_states(run, {"transform": "failed"}, session=session)
    plan = make(client, run_id=[nasty])
    login(client, "admin")
    page = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert apply(client, plan, reason="<img src=x onerror=alert(1)>").status_code == 200
    result = client.get(f"/safe_clear/plans/{plan['id']}").text
    assert "<img" not in result
    assert "<script>alert" not in result
