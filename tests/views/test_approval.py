"""A second person: asked by the author, who cannot apply; applies or declines, and both are on record."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.models.log import Log
from sqlalchemy import select

from tests.support.auth import TEAM_A, bearer, login, user
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import forms, get, make, path, post, press, press_and_follow, step, title

NASTY = "<img src=x onerror=alert(1)>\"'&\u202e"
LIMIT = "[safe_clear] approve_above = 5"


@pytest.fixture(autouse=True)
def dag(session, monkeypatch, auth_manager_name):
    """Three runs with two task instances each to clear, one more than the author may apply."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "5")
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVAL_TTL_MINUTES", "60")
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


@pytest.fixture
def plan(client):
    return make(client)


@pytest.fixture
def waiting(client, plan):
    """A plan of admin's that waits for somebody else."""
    assert post(client, plan, "ask", reason="bad rates").status_code == 200
    return plan


def name(username: str) -> str:
    return str(user(username).get_name())


def in_an_hour():
    return time_machine.travel(datetime.now(timezone.utc) + timedelta(minutes=61), tick=False)


def what_is_left(page: str) -> list[str]:
    """Return what the page offers to do with the plan itself."""
    offered = {form["action"].rsplit("/", 1)[1] for form in forms(page)}
    return sorted(offered & {"apply", "ask", "decline", "stop", "undo"})


def test_the_whole_way_on_the_page(client, session, plan):
    login(client, "admin")
    page = client.get(path(plan)).text
    assert what_is_left(page) == ["ask"]
    assert "Request approval" in page
    assert LIMIT in page
    page = press_and_follow(client, page, "ask", reason="bad rates")
    assert "Waiting for approval" in page
    assert f'value="http://localhost{path(plan)}"' in page
    assert what_is_left(page) == ["decline"]
    assert "Withdraw the plan" in page
    before = snapshot(session)

    login(client, "operator")
    page = client.get(path(plan)).text
    assert what_is_left(page) == ["apply", "decline"]
    assert "bad rates" in page
    page = press_and_follow(client, page, "confirm")
    assert title(page) == "Cleared 6 task instances in 3 runs of etl"
    assert f"requested by <bdi>{name('admin')}</bdi>" in page
    assert f"given by <bdi>{name('operator')}</bdi>" in page
    assert "bad rates" in page
    stored = get(client, plan).get_json()
    assert (stored["created_by"], stored["approved_by"], stored["applied_by"]) == (
        name("admin"),
        name("operator"),
        name("operator"),
    )
    rows = diff_snapshots(before, snapshot(session))["log"]["added"]
    extras = [json.loads(row["extra"]) for row in rows]
    assert len(extras) == 6
    assert {(one["asked_by"], one["approved_by"], one["reason"]) for one in extras} == {
        (name("admin"), name("operator"), "bad rates")
    }


@pytest.mark.parametrize("asked", [False, True])
def test_the_author_cannot_apply(client, session, plan, asked):
    if asked:
        post(client, plan, "ask", reason="bad rates")
    before = snapshot(session)
    refused = post(client, plan, "apply", reason="in a hurry")
    assert refused.status_code == 403
    [missing] = refused.get_json()["missing"]
    assert (missing["what"], missing["limit"], missing["value"], missing["set_in"]) == (
        "approval",
        "approve_above",
        5,
        LIMIT,
    )
    login(client, "admin")
    token = client.get(path(plan)).text.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"csrf_token": token, "fingerprint": plan["fingerprint"]}
    page = client.post(path(plan, "/apply"), data=form)
    assert page.status_code == 403
    assert LIMIT in page.text
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_viewer_sees_that_a_plan_waits(client, waiting):
    login(client, "viewer")
    page = client.get(path(waiting)).text
    assert "Waiting for approval – nothing cleared yet" in page
    assert "Preview – nothing cleared yet" not in page
    with in_an_hour():
        assert "Expired – nothing was cleared" in client.get(path(waiting)).text


def test_nobody_applies_what_was_not_asked_for(client, session, plan):
    before = snapshot(session)
    refused = post(client, plan, "apply", user="operator")
    assert refused.status_code == 422
    assert [one["what"] for one in refused.get_json()["missing"]] == ["approval"]
    login(client, "operator")
    page = client.get(path(plan)).text
    assert what_is_left(page) == []
    assert "has not requested approval yet" in page
    assert post(client, plan, "ask", user="operator", reason="for them").status_code == 403
    assert post(client, plan, "decline", user="operator", reason="no").status_code == 409
    assert diff_snapshots(before, snapshot(session)) == {}


def test_asking_takes_a_reason_and_once_is_enough(client, session, plan):
    before = snapshot(session)
    refused = post(client, plan, "ask")
    assert refused.status_code == 422
    assert [one["what"] for one in refused.get_json()["missing"]] == ["reason"]
    for reason in ("", "  ", "\x00", None):
        refused = post(client, plan, "ask", reason=reason)
        assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["reason"])
    login(client, "admin")
    page = press(client, client.get(path(plan)).text, "ask", reason=" ")
    assert page.status_code == 422
    assert 'href="#reason"' in page.text
    assert diff_snapshots(before, snapshot(session)) == {}
    first = post(client, plan, "ask", reason="bad rates").get_json()
    assert (first["status"], first["reason"]) == ("waiting", "bad rates")
    assert post(client, plan, "ask", reason="worse rates").get_json() == first


def test_a_plan_that_waits_lives_longer(client, plan):
    post(client, plan, "ask", reason="bad rates")
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(minutes=59), tick=False):
        assert get(client, plan).get_json()["status"] == "waiting"
        assert post(client, plan, "apply", user="operator").status_code == 202


def test_a_plan_that_waited_too_long(client, session, waiting):
    before = snapshot(session)
    with in_an_hour():
        assert get(client, waiting).get_json()["status"] == "expired"
        assert post(client, waiting, "apply", user="operator").status_code == 410
        assert post(client, waiting, "decline", user="operator", reason="no").status_code == 410
        assert post(client, waiting, "ask", reason="again").status_code == 410
        login(client, "operator")
        page = client.get(path(waiting)).text
        assert what_is_left(page) == []
        assert "Preview again" in page
    assert diff_snapshots(before, snapshot(session)) == {}


def test_declined_on_the_page(client, session, waiting):
    login(client, "operator")
    page = client.get(path(waiting)).text
    before = snapshot(session)
    refused = press(client, page, "decline", reason="")
    assert refused.status_code == 422
    assert 'href="#decline_reason"' in refused.text
    page = press_and_follow(client, refused.text, "decline", reason=NASTY)
    assert title(page) == "Declined: nothing was cleared"
    assert forms(page) == []
    assert "Preview again" in page
    assert "<img" not in page
    assert "onerror" in html.unescape(page)
    for person in ("admin", "operator"):
        assert f"<bdi>{name(person)}</bdi>" in page
    assert set(diff_snapshots(before, snapshot(session))) == {"safe_clear_plan", "log"}
    stored = get(client, waiting).get_json()
    assert (stored["status"], stored["declined_by"]) == ("declined", name("operator"))
    assert stored["decline_reason"].startswith("<img")
    assert stored["declined_at"]
    for who in ("admin", "operator"):
        refused = post(client, waiting, "apply", user=who)
        assert refused.status_code == 409
        assert "declined" in refused.get_json()["error"]
    assert set(diff_snapshots(before, snapshot(session))) == {"safe_clear_plan", "log"}
    rows = client.get("/safe_clear/plans").text
    assert ">Declined<" in rows
    assert "<img" not in rows


def test_withdrawn_on_the_page(client, waiting):
    login(client, "admin")
    page = press_and_follow(client, client.get(path(waiting)).text, "Withdraw the plan")
    assert title(page) == "Withdrawn: nothing was cleared"
    assert post(client, waiting, "apply", user="operator").status_code == 409
    assert ">Withdrawn<" in client.get("/safe_clear/plans").text
    again = post(client, waiting, "decline")
    assert (again.status_code, again.get_json()["status"]) == (200, "declined")


@pytest.mark.parametrize("what", ["ask", "decline"])
def test_a_viewer_decides_nothing(client, session, waiting, what):
    before = snapshot(session)
    assert post(client, waiting, what, user="viewer", reason="x").status_code == 403
    login(client, "viewer")
    page = client.get(path(waiting)).text
    assert what_is_left(page) == []
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize("what", ["ask", "decline"])
def test_it_takes_the_token_the_permission_and_a_post(client, session, waiting, auth_manager_name, what):
    before = snapshot(session)
    login(client, "operator")
    for token in ("", "x"):
        form = {"csrf_token": token, "reason": "x"}
        assert client.post(path(waiting, f"/{what}"), data=form).status_code == 403
    assert client.get(path(waiting, f"/{what}"), headers=bearer("admin")).status_code in (404, 405)
    assert post(client, waiting, what, reasons="x").status_code == 422
    assert post(client, waiting, what, reason=["x"]).status_code == 422
    assert post(client, waiting, what, reason="x" * 2_001).status_code == 422
    if auth_manager_name == "fab":
        store_etl(session, "other")
        foreign = make(client, dag_id="other")
        assert post(client, foreign, what, user="operator", reason="x").status_code == 404
        before = snapshot(session)
    assert diff_snapshots(before, snapshot(session)) == {}


def test_the_list_of_plans_knows_who_waits(client, waiting):
    ready = make(client, run_id=["run_1"])
    login(client, "operator")

    def listed(status: str) -> list[str]:
        answer = client.get("/safe_clear/plans.json", query_string={"status": status})
        return [item["id"] for item in answer.get_json()["items"]]

    assert listed("waiting") == [waiting["id"]]
    assert listed("ready") == [ready["id"]]
    assert listed("declined") == []
    page = client.get("/safe_clear/plans?status=waiting").text
    assert "Waiting for approval" in page
    assert path(waiting) in page
    assert path(ready) not in page
    with in_an_hour():
        assert listed("waiting") == []
        assert waiting["id"] in listed("expired")
    post(client, waiting, "decline", reason="no", user="operator")
    assert listed("declined") == [waiting["id"]]


def test_the_limit_is_lifted_while_it_waits(client, waiting, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "6")
    login(client, "admin")
    page = client.get(path(waiting)).text
    assert "bad rates</textarea>" in page
    page = press_and_follow(client, page, "confirm", reason="")
    assert title(page) == "Cleared 6 task instances in 3 runs of etl"
    assert "bad rates" in page
    assert get(client, waiting).get_json()["approved_by"] is None


def test_the_second_person_is_asked_for_the_rest_too(client, session, waiting, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CONFIRM_ABOVE", "5")
    before = snapshot(session)
    refused = post(client, waiting, "apply", user="operator")
    assert [one["what"] for one in refused.get_json()["missing"]] == ["confirm_dag_id"]
    login(client, "operator")
    page = client.get(path(waiting)).text
    answer = press(client, page, "confirm", confirm_dag_id="")
    assert answer.status_code == 422
    assert 'href="#confirm_dag_id"' in answer.text
    assert diff_snapshots(before, snapshot(session)) == {}
    page = press_and_follow(client, answer.text, "confirm", confirm_dag_id="etl")
    assert title(page) == "Cleared 6 task instances in 3 runs of etl"


def test_what_the_second_person_began_the_author_may_go_on_with(client, session, waiting, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    assert step(client, waiting, user="operator")["done"] == 2
    post(client, waiting, "stop", user="operator")
    assert step(client, waiting, resume=True)["done"] == 4
    assert step(client, waiting)["status"] == "applied"
    assert get(client, waiting).get_json()["approved_by"] == name("operator")
    extras = map(json.loads, session.scalars(select(Log.extra).where(Log.event == "safe_clear")))
    assert {one["approved_by"] for one in extras} == {name("operator")}


def badge(client, who: str, at: str = "/safe_clear/plans") -> str:
    login(client, who)
    found = re.search(r'class="waiting" href="([^"]+)"[^>]*>.*?</span>([\d,]+)</a>', client.get(at).text)
    return f"{found[2]} {found[1]}" if found else ""


def test_the_navigation_counts_what_waits_for_the_caller(client, session, waiting, auth_manager_name):
    make(client, run_id=["run_1"])  # nobody was asked
    assert badge(client, "operator") == "1 /safe_clear/plans?status=waiting"
    assert badge(client, "operator", path(waiting)) == badge(client, "operator")
    assert path(waiting) in client.get("/safe_clear/plans?status=waiting").text
    for nobody in ("admin", "viewer", "nobody"):  # the author; those who may not clear
        assert badge(client, nobody) == "", nobody
    if auth_manager_name == "fab":
        store_etl(session, "other")
        foreign = make(client, dag_id="other")
        assert post(client, foreign, "ask", reason="x").status_code == 200
        assert badge(client, "operator").startswith("1 ")
    with in_an_hour():
        assert badge(client, "operator") == ""
    post(client, waiting, "decline", reason="no", user="operator")
    assert badge(client, "operator") == ""


def test_the_request_is_at_the_top_for_who_decides(client, waiting):
    login(client, "operator")
    page = client.get(path(waiting)).text
    card = page[page.index('<section class="request"') : page.index('<dl class="facts">')]
    for text in (f"<bdi>{name('admin')}</bdi> asks for your approval", "bad rates", LIMIT, "etl"):
        assert text in card, text
    assert '<button class="btn go" type="submit" form="confirm"' in card
    assert f'action="{path(waiting)}/decline"' in card
    assert f'data-request="{path(waiting)}.json?limit=1"' in card
    login(client, "admin")
    page = client.get(path(waiting)).text
    card = page[page.index('<section class="request"') : page.index('<dl class="facts">')]
    assert f'data-copy="http://localhost{path(waiting)}"' in card
    assert "Withdraw the plan" in card
    assert "Decline" not in card
    login(client, "viewer")
    assert '<section class="request"' not in client.get(path(waiting)).text
