"""Clearing batch by batch: as a program, as a person without JavaScript, stopped, resumed, left, drifted."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import update

from safe_clear_plugin.services.plans import get_plan
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import drive_once, driver, set_clock_forward
from tests.support.scenes import store_etl
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
    step,
    title,
)

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

SELECTION = "<dt>Tasks</dt><dd><code>^transform$</code></dd>"
CHANGES = ("apply", "stop", "undo", "rest")


@pytest.fixture(autouse=True)
def dag(session, monkeypatch, auth_manager_name):
    """Three runs with two task instances each to clear, a run a batch."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


def move(session, run_id: str) -> None:
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == run_id, TaskInstance.task_id == "load")
        .values(state="success", try_number=2)
    )
    session.commit()


def test_batch_by_batch_and_once_more(client, session):
    plan = make(client)
    accepted = post(client, plan, "apply", reason="bad rates")
    body = accepted.get_json()
    assert (accepted.status_code, body["status"], body["done"], body["total"]) == (202, "applying", 0, 6)
    assert (body["retry_after"], accepted.headers["Retry-After"]) == (1, "1")
    answers = [progress(client, plan), *(step(client, plan) for _ in range(2))]
    assert [(one["status"], one["done"], one["total"]) for one in answers] == [
        ("applying", 2, 6),
        ("applying", 4, 6),
        ("applied", 6, 6),
    ]
    assert [(one["dag_runs_done"], one["dag_runs_total"]) for one in answers] == [(1, 3), (2, 3), (3, 3)]
    assert all(one["id"] == plan["id"] and one["cleared_at"] for one in answers)
    before = snapshot(session)
    again = post(client, plan, "apply")
    assert (again.status_code, "Retry-After" in again.headers) == (200, False)
    assert again.get_json().items() <= answers[-1].items()
    assert diff_snapshots(before, snapshot(session)) == {}
    stored = get(client, plan).get_json()
    assert [(batch["number"], batch["task_instances"]) for batch in stored["batches"]] == [
        (1, 2),
        (2, 2),
        (3, 2),
    ]
    assert stored["reason"] == "bad rates"


def test_how_far_it_is_for_programs(client, session):
    plan = make(client)
    post(client, plan, "apply")
    found = progress(client, plan)
    assert (found["status"], found["done"], found["total"]) == ("applying", 2, 6)
    assert found["interrupted"] is False
    assert found["driver"] == {"name": driver().name, "working": True}
    assert found["by_state"] is None
    assert found["undo"]["under_way"] is False
    set_clock_forward(session, get_plan(plan["id"]), 61)
    found = progress(client, plan)
    assert found["interrupted"] is True
    assert found["driver"] == {"name": None, "working": False}
    assert found["by_state"] == [[None, 2]]
    assert found["finished"] is False
    assert found["foreseen"]["open"] == 2
    assert found["foreseen"]["differences"] == []


def test_without_javascript_to_the_end(client, session):
    plan = make(client)
    login(client, "admin")
    page = get(client, plan, "").text
    assert "You can undo every task instance" in page
    page = press_and_follow(client, page, "confirm", reason="by hand")
    assert title(page) == "Clearing: 2 of 6 task instances"
    assert '<progress value="2" max="6"' in page
    assert "1 of 3 runs" in page
    assert SELECTION in page
    assert '<meta http-equiv="refresh"' in page
    drive_once(plan["id"])
    assert title(client.get(path(plan)).text) == "Clearing: 4 of 6 task instances"
    drive_once(plan["id"])
    page = get(client, plan, "").text
    assert title(page) == "Cleared 6 task instances in 3 runs of etl"
    assert 'http-equiv="refresh"' not in page
    assert "by hand" in page
    assert SELECTION in page
    assert page.count("Cleared by") == 3
    assert not [form for form in forms(page) if "/apply" in form["action"]]


def test_the_first_next_step_of_a_receipt_is_to_watch_in_airflow(client):
    several = make(client)
    apply_all(client, several)
    assert first_step(client, several) == ("Watch in Airflow", "/dags/etl")
    one = make(client, run_id=["run_2"])
    apply_all(client, one)
    assert first_step(client, one) == ("Watch in Airflow", "/dags/etl/runs/run_2")
    stopped = make(client)
    post(client, stopped, "apply")
    post(client, stopped, "stop")
    assert first_step(client, stopped)[0].startswith("Resume")


def first_step(client, plan) -> tuple[str, str]:
    page = get(client, plan, "").text
    _, _, steps = page.partition('id="next-title"')
    found = re.search(r'(?:href="([^"]*)"|<button)[^>]*>(.*?)</(?:a|button)>', steps, re.DOTALL)
    assert found
    return re.sub(r"<[^>]+>", "", found[2]).strip(), found[1] or ""


def test_without_javascript_stopped_and_resumed(client):
    plan = make(client)
    login(client, "admin")
    page = press_and_follow(client, client.get(path(plan)).text, "confirm", reason="")
    page = press_and_follow(client, page, "Stop after this batch")
    assert title(page) == "2 of 6 task instances were cleared; the other 4 were not changed"
    assert "Stopped by admin" in page
    # Whoever stopped was in doubt: nothing is proposed more than anything else.
    assert "btn go" not in page
    page = press_and_follow(client, page, "Resume: clear the remaining 4")
    assert title(page) == "Clearing: 4 of 6 task instances"
    drive_once(plan["id"])
    assert title(client.get(path(plan)).text) == "Cleared 6 task instances in 3 runs of etl"


def test_a_plain_visit_clears_nothing(client, session):
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    before = snapshot(session)
    for rest in ("", ".json", "/progress.json", "/undo", "/undo.json"):
        assert client.get(path(plan, rest)).status_code == 200
    assert diff_snapshots(before, snapshot(session)) == {}


def test_stopped_it_stays_stopped_until_somebody_resumes(client, session):
    plan = make(client)
    assert post(client, plan, "stop").get_json()["status"] == "ready"
    post(client, plan, "apply")
    assert post(client, plan, "stop").get_json()["status"] == "stopped"
    before = snapshot(session)
    for body in ({}, {"take_over": True}):
        refused = post(client, plan, "apply", **body)
        assert refused.status_code == 409
        assert {"error", "remedy", "status", "done", "total"} <= refused.get_json().keys()
        assert (refused.get_json()["status"], refused.get_json()["done"]) == ("stopped", 2)
    assert diff_snapshots(before, snapshot(session)) == {}
    assert step(client, plan, resume=True)["done"] == 4
    assert apply_all(client, plan) == 1
    assert post(client, plan, "stop").get_json()["status"] == "applied"


def test_a_request_to_resume_that_is_sent_again_goes_past_no_later_stop(client, session):
    plan = make(client)
    post(client, plan, "apply")
    post(client, plan, "stop")
    seen = get(client, plan, ".json").get_json()["finished_at"]
    resume = {"resume": True, "finished_at": seen}
    assert post(client, plan, "apply", **resume).status_code == 202
    post(client, plan, "stop", user="operator")
    before = snapshot(session)
    refused = post(client, plan, "apply", **resume)
    assert refused.status_code == 409
    assert refused.get_json()["status"] == "stopped"
    assert "operator" in refused.get_json()["error"].lower()
    assert diff_snapshots(before, snapshot(session)) == {}
    later = get(client, plan, ".json").get_json()["finished_at"]
    assert later != seen
    assert post(client, plan, "apply", resume=True, finished_at=later).status_code == 202


def test_another_operator_takes_over_only_when_asked(client, session):
    plan = make(client)
    post(client, plan, "apply")
    before = snapshot(session)
    refused = post(client, plan, "apply", user="operator")
    assert refused.status_code == 409
    assert refused.get_json()["status"] == "applying"
    assert "admin" in refused.get_json()["error"].lower()
    assert diff_snapshots(before, snapshot(session)) == {}
    login(client, "operator")
    page = get(client, plan, "").text
    assert "since" in page
    assert "by <bdi>admin</bdi>" in page
    assert step(client, plan, user="operator", take_over=True)["done"] == 4
    assert step(client, plan, user="operator", take_over=True)["status"] == "applied"
    before = snapshot(session)
    assert post(client, plan, "apply", user="operator").get_json()["status"] == "applied"
    refused = post(client, plan, "apply")
    assert (refused.status_code, "has already applied" in refused.get_json()["error"]) == (409, True)
    assert diff_snapshots(before, snapshot(session)) == {}


def test_without_a_driver_it_says_so_and_how_to_start_one(client, session):
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    assert "No driver" not in client.get(path(plan)).text
    set_clock_forward(session, get_plan(plan["id"]), 61)
    page = get(client, plan, "").text
    assert title(page) == "Clearing: 2 of 6 task instances"
    assert "Interrupted" in page
    assert "No driver is running" in page
    assert "airflow safe-clear driver" in page
    # As soon as one runs again, it goes on.
    drive_once(plan["id"])
    page = get(client, plan, "").text
    assert title(page) == "Clearing: 4 of 6 task instances"
    assert "No driver" not in page


def test_drift_half_way_stops_there_and_the_rest_is_planned(client, session):
    plan = make(client)
    post(client, plan, "apply")
    move(session, "run_2")
    assert post(client, plan, "apply").status_code == 202
    refused = post(client, plan, "apply")
    assert refused.status_code == 409
    body = refused.get_json()
    assert (body["status"], body["done"], body["total"], body["code"]) == ("stopped", 2, 6, "drift")
    assert [(row["run_id"], row["task_id"]) for row in body["drift"]] == [("run_2", "load")]
    assert body["error"]
    assert body["remedy"]

    login(client, "admin")
    page = get(client, plan, "").text
    assert "Stopped: out of date" in page
    assert ">Changes<" in page
    assert not [form for form in forms(page) if "/apply" in form["action"]]
    page = press_and_follow(client, page, "Preview the rest without that run")
    assert title(page) == "Clear 2 task instances in 1 run of etl"
    assert "run_3" in page

    made = post(client, plan, "rest")
    assert made.status_code == 201
    assert [run["run_id"] for run in made.get_json()["dag_runs"]] == ["run_3"]


def test_drift_before_the_first_batch_leaves_the_rest_to_be_planned(client, session):
    plan = make(client)
    move(session, "run_2")
    login(client, "admin")
    answer = press(client, client.get(path(plan)).text, "confirm", reason="")
    assert answer.status_code == 409
    assert "Nothing was cleared" in title(answer.text)
    page = press_and_follow(client, answer.text, "Preview the rest without that run")
    assert title(page) == "Clear 4 task instances in 2 runs of etl"


def test_a_stale_plan_says_when_it_was_checked(client, session):
    plan = make(client, run_id=["run_2"])
    move(session, "run_2")
    login(client, "admin")
    assert "less than a minute after the preview" in press(client, get(client, plan, "").text, "confirm").text
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(hours=3), tick=False):
        assert "less than a minute after the preview" in client.get(path(plan)).text


def test_nothing_is_left_to_plan(client, session):
    plan = make(client, run_id=["run_2"])
    move(session, "run_2")
    assert post(client, plan, "apply").status_code == 409
    login(client, "admin")
    assert "Preview the rest" not in client.get(path(plan)).text
    assert post(client, plan, "rest").status_code == 422


def test_the_second_of_two_operators_is_told_of_the_first(client, session):
    first, second = make(client, user="operator"), make(client, run_id=["run_1"])
    post(client, first, "apply", user="operator")
    refused = post(client, second, "apply")
    assert refused.status_code == 409
    login(client, "admin")
    page = client.get(path(second)).text
    assert "2 task instances of this plan were cleared by <bdi>operator</bdi>" in page
    assert f'href="{path(first)}"' in page
    assert "was undone later" not in page
    post(client, first, "stop")
    assert post(client, first, "undo").status_code == 202
    assert "was undone later" in client.get(path(second)).text


@pytest.mark.parametrize("what", CHANGES)
def test_a_viewer_changes_nothing(client, session, what):
    plan = make(client)
    post(client, plan, "apply")
    before = snapshot(session)
    assert post(client, plan, what, user="viewer").status_code == 403
    assert diff_snapshots(before, snapshot(session)) == {}
    login(client, "viewer")
    page = client.get(path(plan))
    assert page.status_code == 200
    assert title(page.text) == "Clearing: 2 of 6 task instances"
    assert forms(page.text) == []


@pytest.mark.parametrize("what", CHANGES)
def test_to_another_team_it_does_not_exist(client, session, auth_manager_name, what):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    store_etl(session, "other")
    plan = make(client, dag_id="other")
    post(client, plan, "apply")
    before = snapshot(session)
    assert post(client, plan, what, user="operator").status_code == 404
    for rest in ("", ".json", "/progress.json", "/undo", "/undo.json"):
        assert get(client, plan, rest, user="operator").status_code == 404
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_by_cookie_needs_the_token(client, session, what):
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    before = snapshot(session)
    for token in ("", "x"):
        form = {"fingerprint": plan["fingerprint"], "resume": "true", "csrf_token": token}
        assert client.post(path(plan, f"/{what}"), data=form).status_code == 403
        headers = {"X-CSRF-Token": token}
        assert client.post(path(plan, f"/{what}"), json=form, headers=headers).status_code == 403
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize("what", ["apply", "stop", "rest"])
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_changes_take_post_only(client, session, what, method):
    plan = make(client)
    before = snapshot(session)
    answer = getattr(client, method)(path(plan, f"/{what}"), headers=bearer("admin"))
    assert answer.status_code in (404, 405)
    assert diff_snapshots(before, snapshot(session)) == {}


def test_headers_of_every_page(client):
    plan = make(client)
    post(client, plan, "apply")
    login(client, "admin")
    pages = [path(plan), path(plan, "/undo"), "/safe_clear/plans", "/safe_clear/plans.json"]
    for address in pages:
        answer = client.get(address)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text
