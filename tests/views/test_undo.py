"""Undoing: its preview, whole or for chosen runs, batch by batch, and what the receipt says after it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from airflow.api.common.delete_dag import delete_dag
from airflow.models.dag import DagModel
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import func, select, update

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.storage.tables import metadata
from safe_clear_plugin.storage.undo import left_out_runs
from safe_clear_plugin.web.receipt import undo_page
from tests.support.auth import TEAM_A, login
from tests.support.driving import drive, set_clock_forward
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import (
    apply_all,
    forms,
    get,
    make,
    path,
    post,
    press,
    press_and_follow,
    progress,
    title,
    undo_all,
    words,
)

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
    assert re.search(r"<(button|input|form)\b", page) is None
    assert re.findall(r'<a class="btn[^>]*>(?:<svg.*?</svg>)?([^<]+)', page) == ["Back to the receipt"]
    assert all(run_id in words(page) for run_id in ("run_1", "run_2", "run_3"))
    assert path(cleared, "/undo") not in client.get(path(cleared)).text


def test_nothing_of_the_chosen_runs_leads_to_all_runs(client, session, cleared):
    for task_id in ("transform", "load"):
        start(session, "run_1", task_id)
    login(client, "admin")
    page = client.get(path(cleared, "/undo?run_id=run_1")).text
    assert title(page) == "Nothing can be restored"
    assert re.search(r"<(button|input|form)\b", page) is None
    [all_runs] = re.findall(r'<a class="btn" href="([^"]+)">Preview the undo of all runs', page)
    assert title(client.get(all_runs).text) == "Restore 4 of 6 task instances"


def test_chosen_runs_and_then_the_others(client, session, cleared):
    login(client, "admin")
    page = client.get(path(cleared, "/undo?run_id=run_1&run_id=run_3")).text
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
    assert undo_all(client, cleared, run_id=["run_1"])["under_way"] is False
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
    accepted = post(client, cleared, "undo", reason="all of it")
    body = accepted.get_json()
    assert (accepted.status_code, body["done"], body["total"], body["under_way"]) == (202, 0, 6, True)
    assert (body["retry_after"], accepted.headers["Retry-After"]) == (1, "1")
    first = progress(client, cleared, "undo")
    assert (first["done"], first["total"], first["put_back"], first["stayed"]) == (4, 6, 4, 0)
    assert (first["dag_runs_done"], first["dag_runs_total"], first["under_way"]) == (2, 3, True)

    login(client, "admin")
    page = client.get(path(cleared)).text
    assert title(page) == "Restoring: 4 of 6 task instances"
    drive(cleared["id"])
    page = client.get(path(cleared)).text
    assert title(page) == "All 6 task instances were restored"
    batches = get(client, cleared).get_json()["batches"]
    assert [(b["kind"], b["task_instances"], b["reason"]) for b in batches if b["kind"] == "undo"] == [
        ("undo", 4, "all of it"),
        ("undo", 2, "all of it"),
    ]
    assert get(client, cleared).get_json()["status"] == "undone"


def test_an_undo_is_stopped_and_the_rest_undone_later(client, session, monkeypatch, cleared):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    post(client, cleared, "undo", reason="all of it")
    login(client, "operator")
    page = client.get(path(cleared)).text
    assert title(page) == "Restoring: 2 of 6 task instances"
    page = press_and_follow(client, page, "Stop after this batch")
    assert title(page) == "2 of 6 task instances were restored"
    assert "1 of 3 cleared runs have been undone; the others stay cleared." in page
    before = snapshot(session)
    drive(cleared["id"])
    answer = post(client, cleared, "undo", go_on=True)
    assert (answer.status_code, answer.get_json()["under_way"]) == (200, False)
    assert diff_snapshots(before, snapshot(session)) == {}
    assert undo_all(client, cleared)["put_back"] == 6


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


def test_a_clear_that_no_driver_goes_on_with_is_stopped_and_undone(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    before = snapshot(session)
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    set_clock_forward(session, get_plan(plan["id"]), 61)
    assert title(client.get(path(plan, "/undo")).text) == "Nothing can be restored"
    page = press_and_follow(client, client.get(path(plan)).text, "Stop after this batch")
    assert title(page) == "2 of 6 task instances were cleared; the other 4 were not changed"
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


def test_pausing_the_dag_first(client, session, cleared, auth_manager_name):
    login(client, "admin")
    page = client.get(path(cleared, "/undo") + "?run_id=run_1").text
    assert "Pause the Dag first" in page
    answer = press(client, page, "Pause the Dag first")
    assert (answer.status_code, answer.location) == (303, path(cleared, "/undo") + "?run_id=run_1")
    page = client.get(answer.location).text
    assert "is paused: only task instances that are already queued can still start" in page
    assert "Pause the Dag first" not in page
    assert session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == "etl"))
    for _ in range(2):  # again changes nothing
        answer = post(client, cleared, "pause")
        assert (answer.status_code, answer.get_json()) == (200, {"dag_id": "etl", "is_paused": True})
    rows = session.execute(select(Log.owner, Log.extra).where(Log.event == "safe_clear_pause")).all()
    assert len(rows) == 1
    assert json.loads(rows[0].extra)["plan_id"] == cleared["id"]


def test_pausing_goes_back_to_the_runs_as_they_were_asked_for(client, session, cleared):
    login(client, "admin")
    asked = {"run": "run_", "without": "run_2"}
    page = client.get(path(cleared, "/undo"), query_string=asked).text
    (form,) = [one for one in forms(page) if one["action"].endswith("/pause")]
    sent = dict(form["fields"])
    assert {name: sent.get(name) for name in ("run", "without", "run_id")} == {**asked, "run_id": None}
    answer = client.post(form["action"], data=sent)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.location).query) == {name: [value] for name, value in asked.items()}


def test_only_whoever_may_edit_the_dag_pauses_it(client, session, cleared, monkeypatch):
    monkeypatch.setattr(permissions, "may_edit_dag", lambda dag, user: False)
    before = snapshot(session)
    refused = post(client, cleared, "pause")
    assert refused.status_code == 403
    assert "can’t pause etl" in refused.get_json()["error"]
    assert post(client, cleared, "pause", user="viewer").status_code == 403
    login(client, "admin")
    assert "Pause the Dag first" not in client.get(path(cleared, "/undo")).text
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_dag_that_is_gone_is_not_paused(client, session, cleared):
    delete_dag("etl")
    refused = post(client, cleared, "pause")
    assert refused.status_code in (404, 409)
    assert session.scalar(select(func.count()).where(Log.event == "safe_clear_pause")) == 0


def test_what_slips_away_between_preview_and_confirmation_is_said(client, session, cleared):
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    assert '<input type="hidden" name="put_back" value="6"' in page
    start(session, "run_2", "transform")
    start(session, "run_2", "load")
    page = press_and_follow(client, page, "confirm")
    assert title(page) == "4 of 6 task instances were restored"
    assert ">Undone in part</span>" in page
    assert "4 restored; 2 more that the preview promised started, or changed otherwise" in page
    assert ">Undone in part</span>" in client.get("/safe_clear/plans").text


def test_nothing_is_said_of_promises_that_were_kept_or_never_made(client, session, cleared):
    start(session, "run_2", "transform")
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    page = press_and_follow(client, page, "confirm")
    assert title(page) == "5 of 6 task instances were restored"
    assert "promised" not in page
    other = make(client, run_id=["run_1"])
    apply_all(client, other)
    start(session, "run_1", "transform")
    undo_all(client, other)  # by a program that sends no promise
    assert "promised" not in client.get(path(other)).text


def test_runs_are_searched_paged_and_left_out(client, session, monkeypatch):
    monkeypatch.setattr(undo_page, "CHOOSABLE", 2)
    plan = make(client)
    apply_all(client, plan)
    login(client, "admin")

    def shown(query):
        page = client.get(path(plan, "/undo") + query).text
        listed = re.findall(r'type="checkbox" name="run_id" value="([^"]+)"', page)
        sent = re.search(r'<form id="confirm".*?</form>', page, re.DOTALL)
        return listed, re.findall(r'name="run_id" value="([^"]+)"', sent[0]), title(page)

    assert shown("") == (["run_1", "run_2"], [], "Restore 6 of 6 task instances")
    assert shown("?offset=2") == (["run_3"], [], "Restore 6 of 6 task instances")
    assert shown("?run=_2") == (["run_2"], ["run_2"], "Restore 2 of 2 task instances")
    assert shown("?without=run_1") == (
        ["run_2", "run_3"],
        ["run_2", "run_3"],
        "Restore 4 of 4 task instances",
    )
    assert shown("?run=run&without=run_1&without=run_3")[1] == ["run_2"]
    assert shown("?run=RUN_2")[1] == ["run_2"]
    for nothing in ("?run=%25", "?without=run_1&without=run_2&without=run_3"):
        answer = client.get(path(plan, "/undo") + nothing)
        assert answer.status_code == 422, nothing
        assert "No cleared dag run matches" in answer.text
        assert get(client, plan, "/undo.json" + nothing).status_code == 422
    page = client.get(path(plan, "/undo") + "?run=_2").text
    press(client, page, "confirm")
    assert states(session)["run_2", "transform"] == "failed"
    assert states(session)["run_1", "transform"] is None
    assert shown("")[0] == ["run_1", "run_3"]
    assert get(client, plan, "/undo.json?without=run_1").get_json()["dag_runs_total"] == 1


def test_the_grid_rings_what_comes_back(client, session, cleared):
    start(session, "run_2", "transform")
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    grid = page[page.index('<div id="grid"') :]
    cells = re.findall(r'<td class="(comes-back|cleared|untouched)[^"]*" aria-labelledby="(w\d+)"', grid)
    words = dict(re.findall(r'<span id="(w\d+)">([^<]+)</span>', grid))
    assert sorted(words[name] for look, name in cells if look == "comes-back") == 5 * [
        "No Status, will be restored"
    ]
    assert "Running, cleared" in [words[name] for look, name in cells if look == "cleared"]
    assert "will be restored by the undo" in grid
    part = client.get(path(cleared, "/undo/grid") + "?first_row=1")
    assert part.status_code == 200
    assert part.text.count('class="comes-back ') == 5
    assert "comes-back" not in client.get(path(cleared)).text
    assert 'id="grid"' not in client.get(path(cleared, "/undo") + "?run_id=run_1").text
