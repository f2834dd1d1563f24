"""Undoing: its preview, whole or for chosen runs, batch by batch, and what the receipt says after it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
import time_machine
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, update

from safe_clear_plugin.storage.tables import metadata
from safe_clear_plugin.storage.undo import left_out_runs
from tests.support.auth import TEAM_A, login
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import apply_all, forms, get, make, path, post, press, press_and_follow, title

OWN = {table.name for table in metadata.sorted_tables}
NASTY = "run<script>alert(1)</script>\"'&"


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    """Three runs with two task instances each to clear."""
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


@pytest.fixture
def cleared(client):
    plan = make(client)
    apply_all(client, plan)
    return plan


def start(session, run_id: str, task_id: str) -> None:
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        .values(state="running", try_number=2, start_date=datetime.now(timezone.utc))
    )
    session.commit()


def of_airflow(tables) -> dict:
    """Leave out our own tables, the audit log, and the columns that say when a row was written."""
    kept = {name: rows for name, rows in tables.items() if name not in OWN | {"log"}}
    return {name: [{**row, "updated_at": None} for row in rows] for name, rows in kept.items()}


def states(session) -> dict:
    session.expire_all()
    rows = session.execute(select(TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state))
    return {(row.run_id, row.task_id): row.state for row in rows}


def test_undo_as_a_person(client, session):
    before = snapshot(session)
    plan = make(client)
    apply_all(client, plan, reason="for the clear")
    login(client, "admin")
    receipt = client.get(path(plan)).text
    assert f'href="{path(plan, "/undo")}"' in receipt

    page = client.get(path(plan, "/undo")).text
    assert title(page) == "Restore 6 of 6 task instances"
    assert "3 runs of" in page
    assert "will be restored exactly as they were" in page
    assert "3 Failed, 3 Upstream Failed" in page
    page = press_and_follow(client, page, "confirm", reason="I mixed the date")
    assert title(page) == "All 6 task instances were restored"
    assert "I mixed the date" in page
    assert "for the clear" in page
    assert path(plan, "/undo") not in page
    assert diff_snapshots(of_airflow(before), of_airflow(snapshot(session))) == {}

    again = client.get(path(plan, "/undo")).text
    assert title(again) == "Nothing can be restored"
    assert "already been undone" in again
    assert forms(again) == []
    refused = post(client, plan, "undo")
    assert refused.status_code == 409
    assert "already been undone" in refused.get_json()["error"]


def test_what_started_stays_and_is_listed(client, session, cleared):
    start(session, "run_2", "transform")
    login(client, "admin")
    receipt = client.get(path(cleared)).text
    assert re.search(r"Already started</dt><dd class=\"figure\">1<", receipt)
    assert re.search(r"Can be undone</dt><dd class=\"figure\">5<", receipt)
    page = client.get(path(cleared, "/undo")).text
    assert title(page) == "Restore 5 of 6 task instances"
    assert "2 runs of" in page
    assert "1 run will be restored in part: 1 of its task instances stays as it is" in page
    assert "1 not restored:" in page
    assert "some of its task instances can&#39;t be restored" in page

    start(session, "run_3", "load")  # in the meantime
    page = press_and_follow(client, page, "confirm", reason="")
    assert title(page) == "4 of 6 task instances were restored"
    assert "Not restored by the undo" in page
    assert "2 not restored:" in page
    assert "2 not restored" in page
    for run_id, task_id in (("run_2", "transform"), ("run_3", "load")):
        assert re.search(rf"<bdi>{task_id}</bdi>", page)
        assert run_id in page
    after = states(session)
    assert after["run_2", "transform"] == "running"
    assert after["run_3", "load"] == "running"
    assert after["run_2", "load"] == "upstream_failed"
    assert after["run_1", "transform"] == "failed"


def test_nothing_can_be_put_back_any_more(client, session, cleared):
    for run_id in ("run_1", "run_2", "run_3"):
        for task_id in ("transform", "load"):
            start(session, run_id, task_id)
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    assert title(page) == "Nothing can be restored"
    assert "All 6 task instances" in page
    assert forms(page) == []
    assert path(cleared, "/undo") not in client.get(path(cleared)).text


def test_chosen_runs_and_then_the_others(client, session, cleared):
    login(client, "admin")
    page = client.get(path(cleared, "/undo?run_id=run_1&run_id=run_3&run_id=no_such_run")).text
    assert title(page) == "Restore 4 of 4 task instances"
    assert "run_2" not in page
    assert "chosen from 3 runs" in page
    page = press_and_follow(client, page, "confirm", reason="")
    assert title(page) == "4 of 6 task instances were restored"
    assert "Undone in part" in page
    assert states(session)["run_1", "transform"] == "failed"
    assert states(session)["run_2", "transform"] is None

    page = client.get(path(cleared, "/undo")).text
    assert title(page) == "Restore 2 of 2 task instances"
    page = press_and_follow(client, page, "confirm", reason="")
    assert title(page) == "All 6 task instances were restored"


def test_going_on_asks_for_no_more_than_was_asked(client, session, cleared):
    """A request that is sent again, since its answer was lost, must not undo runs that nobody chose."""
    assert post(client, cleared, "undo", run_id=["run_1"]).get_json()["under_way"] is False
    before = snapshot(session)
    answer = post(client, cleared, "undo", go_on=True)
    assert (answer.status_code, answer.get_json()["done"], answer.get_json()["total"]) == (200, 2, 2)
    assert diff_snapshots(before, snapshot(session)) == {}


def test_batch_by_batch_for_programs(client, session, monkeypatch, cleared):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "4")
    preview = get(client, cleared, "/undo.json").get_json()
    assert (preview["task_instances"], preview["put_back"], preview["stay"]) == (6, 6, 0)
    assert [run["state_back"] for run in preview["dag_runs"]] == ["failed"] * 3
    assert preview["problem"] is None
    first = post(client, cleared, "undo", reason="all of it").get_json()
    assert (first["done"], first["total"], first["put_back"], first["stayed"]) == (4, 6, 4, 0)
    assert (first["dag_runs_done"], first["dag_runs_total"], first["under_way"]) == (2, 3, True)
    progress = get(client, cleared, "/progress.json").get_json()["undo"]
    assert (progress["done"], progress["total"], progress["under_way"]) == (4, 6, True)

    login(client, "admin")
    page = client.get(path(cleared)).text
    assert title(page) == "Restoring: 4 of 6 task instances"
    page = press_and_follow(client, page, "Restore the rest")
    assert title(page) == "All 6 task instances were restored"
    batches = get(client, cleared).get_json()["batches"]
    assert [(b["kind"], b["task_instances"], b["reason"]) for b in batches if b["kind"] == "undo"] == [
        ("undo", 4, "all of it"),
        ("undo", 2, "all of it"),
    ]
    assert get(client, cleared).get_json()["status"] == "undone"


def test_a_stopped_clear_is_undone_and_cannot_go_on(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    before = snapshot(session)
    plan = make(client)
    post(client, plan, "apply")
    refused = post(client, plan, "undo")
    assert refused.status_code == 409
    post(client, plan, "stop")
    login(client, "admin")
    page = press_and_follow(client, client.get(path(plan, "/undo")).text, "confirm", reason="")
    assert title(page) == "All 2 task instances were restored"
    assert "Resume" not in page
    assert post(client, plan, "apply", resume=True).status_code == 409
    assert diff_snapshots(of_airflow(before), of_airflow(snapshot(session))) == {}


def test_a_clear_that_was_left_is_undone(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    before = snapshot(session)
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(seconds=16), tick=False):
        page = client.get(path(plan, "/undo")).text
        assert title(page) == "Restore 2 of 2 task instances"
        page = press_and_follow(client, page, "confirm", reason="")
    assert title(page) == "All 2 task instances were restored"
    assert diff_snapshots(of_airflow(before), of_airflow(snapshot(session))) == {}


def test_a_plan_that_cleared_nothing(client, session):
    plan = make(client)
    login(client, "admin")
    page = client.get(path(plan, "/undo"))
    assert page.status_code == 200
    assert title(page.text) == "Nothing can be restored"
    before = snapshot(session)
    assert post(client, plan, "undo").status_code == 409
    assert diff_snapshots(before, snapshot(session)) == {}


def test_who_may_not_clear_gets_no_preview_of_an_undo(client, cleared):
    for rest in ("/undo", "/undo.json"):
        assert get(client, cleared, rest, user="viewer").status_code == 403
    login(client, "viewer")
    receipt = client.get(path(cleared)).text
    assert path(cleared, "/undo") not in receipt
    assert forms(receipt) == []


def test_requests_that_are_none(client, session, cleared):
    before = snapshot(session)
    for body in ({"run_id": "run_1"}, {"run_id": [1]}, {"run_id": {}, "reason": 1}, {"reason": ["x"]}):
        assert post(client, cleared, "undo", **body).status_code == 422, body
    assert post(client, cleared, "undo", reason="x" * 2_001).status_code == 422
    assert post(client, cleared, "undo", run_id=[str(n) for n in range(10_001)]).status_code == 422
    for run_id in ("\x00", "\ud800", "x" * 251):
        assert post(client, cleared, "undo", run_id=[run_id]).status_code == 422
    assert post(client, cleared, "undo", run_id=["no_such_run"]).status_code == 409
    assert diff_snapshots(before, snapshot(session)) == {}
    login(client, "admin")
    assert client.get(path(cleared, "/undo.json?run_id=")).status_code == 422
    assert client.get(path(cleared, "/undo?run_id=%ff")).status_code == 200
    for query in ("?run_id=%00", "?run_id=" + "x" * 3_000, "?run_ids=run_1"):
        assert client.get(path(cleared, f"/undo{query}")).status_code == 422


def test_a_refused_undo_leads_back_to_the_plan(client, cleared):
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    press(client, page, "confirm", reason="")
    twice = press(client, page, "confirm", reason="")
    assert twice.status_code == 409
    assert title(twice.text) == "Nothing was done"
    assert f'href="{path(cleared)}"' in twice.text


def test_names_from_the_database_are_escaped(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", ".*")
    dag = store_etl(session, "nasty", runs=1)
    run = make_run(dag, session=session, run_id=NASTY, logical_date=START.replace(day=7), state="failed")
    set_states(run, {"transform": "failed"}, session=session)
    plan = make(client, dag_id="nasty", run_id=[NASTY])
    apply_all(client, plan, reason="<img src=x onerror=alert(1)>")
    start(session, NASTY, "load")
    login(client, "admin")
    page = client.get(path(plan, "/undo"), query_string={"run_id": NASTY}).text
    assert title(page) == "Restore 1 of 2 task instances"
    receipt = press_and_follow(client, page, "confirm", reason="<b onclick=x>")
    assert "1 of 2 task instances was restored" in receipt
    assert "&lt;b onclick" in receipt
    for text in (page, receipt, client.get("/safe_clear/plans").text):
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b onclick" not in text


def test_the_receipt_names_the_runs_that_an_undo_left_out(client, cleared, session):
    why = {"reason": "The metadata DB stopped a statement.", "remedy": "Run `airflow <b>`."}
    left_out_runs.record(UUID(cleared["id"]), NASTY, why, session)
    session.commit()
    login(client, "admin")
    page = client.get(path(cleared)).text
    assert "The undo left out 1 run" in page
    assert "The metadata DB stopped a statement. Run <code>airflow &lt;b&gt;</code>." in page
    assert "run&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
