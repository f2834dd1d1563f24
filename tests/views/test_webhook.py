"""A webhook that could not be delivered: pages and programs show it, and have it sent again."""

from __future__ import annotations

import pytest
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import update

from tests.support.auth import TEAM_A, bearer, login
from tests.support.receiver import receiving
from tests.support.scenes import store_etl
from tests.support.webhook import SECRET, TOKEN, configure, deliver_all, give_up, messages, states
from tests.views.actions import apply_all, forms, get, make, path, post, press_and_follow

BANNER = "The webhook could not be delivered: hooks.example answered 503."


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    return store_etl(session, **({"access_control": TEAM_A} if auth_manager_name == "fab" else {}))


@pytest.fixture(autouse=True)
def webhook(monkeypatch):
    configure(monkeypatch, "https://hooks.example")


@pytest.fixture
def plan(client, session):
    """Clear a plan, and give its messages up."""
    made = make(client)
    apply_all(client, made)
    give_up(session)
    return made


def page_of(client, plan, user="admin"):
    login(client, user)
    return client.get(path(plan)).text


def test_the_page_of_a_plan_shows_what_was_not_delivered_and_why(client, plan):
    page = page_of(client, plan)
    assert BANNER in page
    assert "Clear started" in page
    assert "Clear done" in page


def test_no_page_or_answer_has_the_url_or_the_secret(client, plan):
    login(client, "admin")
    texts = [
        page_of(client, plan),
        client.get("/safe_clear/plans").text,
        get(client, plan).text,
        client.get("/safe_clear/plans.json", headers=bearer("admin")).text,
        post(client, plan, "webhook").text,
    ]
    assert not any(secret in text for text in texts for secret in (TOKEN, SECRET))


@pytest.mark.parametrize("status", ["ready", "declined", "stale", "applying", "stopped", "undone"])
def test_the_page_of_a_plan_of_any_status_shows_it(client, session, monkeypatch, status):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    if status in ("ready", "declined"):
        monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    made = make(client)
    if status in ("ready", "declined"):
        post(client, made, "ask", reason="rates")
    if status == "declined":
        post(client, made, "decline", reason="no")
    if status == "stale":
        session.execute(update(TaskInstance).values(state="success"))
        session.commit()
        post(client, made, "apply")
    if status in ("applying", "stopped", "undone"):
        post(client, made, "apply")
    if status in ("stopped", "undone"):
        post(client, made, "stop")
    if status == "undone":
        post(client, made, "undo")
    give_up(session)
    assert BANNER in page_of(client, made)


def test_the_list_says_which_plans_are_concerned(client, plan):
    other = make(client)
    login(client, "admin")
    assert client.get("/safe_clear/plans").text.count("Webhook not delivered") == 1
    found = client.get("/safe_clear/plans.json", headers=bearer("admin")).get_json()
    assert found["undelivered"] == [plan["id"]]
    assert {item["id"] for item in found["items"]} == {plan["id"], other["id"]}


def test_the_plan_as_json_lists_the_messages(client, plan):
    found = get(client, plan).get_json()["undelivered"]
    assert [(one["number"], one["event"]) for one in found] == [(1, "started"), (2, "done")]
    expected = {"problem": "status", "http_status": 503, "attempts": 33, "text": "hooks.example answered 503"}
    assert expected.items() <= found[0].items()


def test_the_button_has_them_sent_again(client, session, plan, monkeypatch):
    page = press_and_follow(client, page_of(client, plan), "Send again")
    assert BANNER not in page
    assert states(session) == [("pending", 0), ("pending", 0)]
    with receiving() as receiver:
        configure(monkeypatch, receiver.url)
        deliver_all()
    assert receiver.told == [(1, "started"), (2, "done")]


def test_a_program_has_them_sent_again_once(client, session, plan):
    assert post(client, plan, "webhook").status_code == 200
    assert states(session) == [("pending", 0), ("pending", 0)]
    again = post(client, plan, "webhook")
    assert again.status_code == 409
    assert "No message of this plan" in again.get_json()["error"]


def test_without_a_webhook_nothing_can_be_sent_again(client, session, plan, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL", "")
    answer = post(client, plan, "webhook")
    assert answer.status_code == 409
    assert "webhook_url" in answer.get_json()["error"]
    assert states(session) == [("failed", 33), ("failed", 33)]
    assert "The webhook could not be delivered: the server answered 503." in page_of(client, plan)


def test_an_option_that_cannot_be_used_is_named(client, plan, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_FORMAT", "teams")
    answer = post(client, plan, "webhook")
    assert answer.status_code == 503
    assert "`webhook_format`" in answer.get_json()["error"]
    assert TOKEN not in answer.text


def test_a_viewer_sees_it_and_has_no_button_and_no_right(client, session, plan):
    page = page_of(client, plan, "viewer")
    assert BANNER in page
    assert [form["action"] for form in forms(page) if form["action"].endswith("/webhook")] == []
    assert post(client, plan, "webhook", user="viewer").status_code == 403
    assert post(client, plan, "webhook", user="nobody").status_code in (403, 404)
    assert states(session) == [("failed", 33), ("failed", 33)]


def test_a_form_without_its_token_sends_nothing(client, session, plan):
    login(client, "admin")
    assert client.post(path(plan, "/webhook"), data={}).status_code == 403
    assert states(session) == [("failed", 33), ("failed", 33)]


def test_a_plan_whose_messages_are_on_their_way_says_nothing(client, session):
    made = make(client)
    apply_all(client, made)
    assert len(messages(session)) == 2
    assert "webhook" not in page_of(client, made).replace("/webhook", "").lower()
    assert get(client, made).get_json()["undelivered"] == []
