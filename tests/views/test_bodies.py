"""What a request may say: no misspelt or empty field widens what is done, and who did it is on record."""

from __future__ import annotations

import json

import pytest
from airflow.models.log import Log
from sqlalchemy import select

from tests.support.auth import TEAM_A, bearer, login, user
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import apply_all, get, make, path, post, press, press_and_follow, title, undo_all


@pytest.fixture(autouse=True)
def dag(session, monkeypatch, auth_manager_name):
    """Three runs with two task instances each to clear, a run a batch."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


@pytest.fixture
def stopped(client):
    """A plan of which one run of three is cleared."""
    plan = make(client)
    post(client, plan, "apply")
    post(client, plan, "stop")
    return plan


@pytest.mark.parametrize(
    ("what", "field"),
    [("apply", "reasons"), ("stop", "reason"), ("rest", "run_id"), ("undo", "run_ids"), ("undo", "runId")],
)
def test_a_misspelt_field_is_refused_by_name(client, session, stopped, what, field):
    before = snapshot(session)
    for value in (["run_1"], "x", None):
        refused = post(client, stopped, what, **{field: value})
        assert refused.status_code == 422
        assert f"`{field}`" in refused.get_json()["error"]
        assert refused.get_json()["unknown"] == [field]
    login(client, "admin")
    token = client.get(path(stopped)).text.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"csrf_token": token, "fingerprint": stopped["fingerprint"], field: "run_1"}
    if what != "apply":
        del form["fingerprint"]
    page = client.post(path(stopped, f"/{what}"), data=form)
    assert page.status_code == 422
    assert f"<code>{field}</code>" in page.text
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize(
    "run_id", [[], [""], [" ", "\x00"], ["", "run_1"], [None], "run_1", 1, True, {}, None]
)
def test_an_empty_choice_of_runs_is_not_all_runs(client, session, stopped, run_id):
    before = snapshot(session)
    refused = post(client, stopped, "undo", run_id=run_id)
    assert refused.status_code == 422
    assert list(refused.get_json()["errors"]) == ["run_id"]
    assert "`run_id`" in refused.get_json()["error"]
    for given in ("", ["", "run_1"]):
        blank = client.post(path(stopped, "/undo"), data={"run_id": given}, headers=bearer("admin"))
        assert blank.status_code == 422
    assert get(client, stopped, "/undo.json?run_id=").status_code == 422
    assert diff_snapshots(before, snapshot(session)) == {}
    assert undo_all(client, stopped, run_id=["run_1", "run_1"])["put_back"] == 2


@pytest.mark.parametrize("what", ["stop", "rest"])
def test_a_request_without_a_body_says_nothing_unknown(client, stopped, what):
    for headers in ({}, {"Content-Type": "application/json"}):
        answer = client.post(path(stopped, f"/{what}"), headers={**bearer("admin"), **headers})
        assert answer.status_code in (200, 201)
    answer = client.post(path(stopped, f"/{what}"), json=["x"], headers=bearer("admin"))
    assert answer.status_code == 422


def test_an_undo_takes_back_only_what_was_seen(client, session, stopped):
    seen = get(client, stopped, "/undo.json").get_json()["cleared_runs"]
    assert seen == 1
    login(client, "admin")
    page = client.get(path(stopped, "/undo")).text
    post(client, stopped, "apply", resume=True)
    post(client, stopped, "stop")

    before = snapshot(session)
    refused = press(client, page, "confirm", reason="")
    assert refused.status_code == 409
    assert "2 runs are cleared now, and 1 were then" in refused.text
    answer = post(client, stopped, "undo", cleared_runs=seen)
    assert (answer.status_code, answer.get_json()["cleared_runs"]) == (409, 2)
    assert diff_snapshots(before, snapshot(session)) == {}

    page = press_and_follow(client, client.get(path(stopped, "/undo")).text, "confirm", reason="")
    assert title(page) == "Restoring: 2 of 4 task instances"


@pytest.mark.parametrize("number", ["x", -1, 1.5, True, [1]])
def test_a_number_of_runs_that_is_none(client, session, stopped, number):
    before = snapshot(session)
    assert post(client, stopped, "undo", cleared_runs=number).status_code == 422
    assert diff_snapshots(before, snapshot(session)) == {}


def test_the_audit_log_names_who_cleared_and_who_took_it_back(client, session):
    plan = make(client)
    apply_all(client, plan, reason="bad rates")
    undo_all(client, plan, user="operator", reason="wrong day")
    names = {name: str(user(name).get_name()) for name in ("admin", "operator")}
    ids = {name: str(user(name).get_id()) for name in ("admin", "operator")}
    rows = session.scalars(select(Log).where(Log.event.in_(["safe_clear", "safe_clear_undo"]))).all()
    found = {
        (row.event, row.owner, row.owner_display_name, row.dag_id, row.run_id, row.task_id) for row in rows
    }
    assert len(rows) == 12
    assert found == {
        (event, names[by], names[by], "etl", f"run_{day}", task_id)
        for event, by in (("safe_clear", "admin"), ("safe_clear_undo", "operator"))
        for day in (1, 2, 3)
        for task_id in ("transform", "load")
    }
    said = {
        (row.event, extra["plan_id"], extra["user_id"], extra["reason"])
        for row in rows
        if (extra := json.loads(row.extra))
    }
    assert said == {
        ("safe_clear", plan["id"], ids["admin"], "bad rates"),
        ("safe_clear_undo", plan["id"], ids["operator"], "wrong day"),
    }
