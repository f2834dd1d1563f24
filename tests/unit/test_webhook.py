"""What a webhook is told: its signature, its words, and how long to wait after a failure."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.core.waves import WaveReason
from safe_clear_plugin.core.webhook import (
    LONGEST_WAIT,
    Counts,
    DeliveryProblem,
    Event,
    Format,
    Message,
    Stop,
    Webhook,
    signed_headers,
    wait_after,
)
from safe_clear_plugin.core.webhook_text import EVENTS, PROBLEMS, WAITS, problem_text, slack_body

ID = UUID("6f1d1c4e-9d5c-4c43-9a4c-0d1f3f2d9b11")


def message(**changes):
    values = {
        "id": ID,
        "number": 1,
        "event": Event.STARTED,
        "at": datetime(2026, 1, 5, 6, 30, tzinfo=timezone.utc),
        "by": "Ada",
        "plan_id": "0" * 32,
        "url": "https://airflow.example/pluginsv2/safe_clear/plans/" + "0" * 32,
        "dag_id": "sales_etl",
        "status": "applying",
        "sentence": "All tasks, in run a.",
        "created_by": "Ada",
        "reason": "wrong rates",
        "counts": Counts(
            task_instances=3,
            dag_runs=1,
            cleared=0,
            cleared_dag_runs=0,
            put_back=0,
            stayed=0,
            undone_dag_runs=0,
        ),
        "stop_reason": None,
    }
    return Message.model_validate({**values, **changes})


def test_a_signature_is_that_of_the_example_of_standard_webhooks():
    """The values are those of https://github.com/standard-webhooks/standard-webhooks, its specification."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_of_plain_text_signs_with_its_bytes():
    encoded = "whsec_" + base64.b64encode(b"s3cret").decode()
    assert signed_headers(ID, 1, b"{}", "s3cret") == signed_headers(ID, 1, b"{}", encoded)


def test_without_a_secret_there_is_no_signature():
    assert signed_headers(ID, 1, b"{}", "") == {"webhook-id": str(ID), "webhook-timestamp": "1"}


def test_a_secret_that_is_no_base64_after_its_prefix_is_refused():
    with pytest.raises(ValueError, match="Base64"):
        signed_headers(ID, 1, b"{}", "whsec_ä")


def test_each_wait_is_twice_as_long_until_an_hour():
    waits = [wait_after(attempts).total_seconds() for attempts in range(1, 6)]
    assert waits == [5, 10, 20, 40, 80]
    assert wait_after(11) == wait_after(10**6) == LONGEST_WAIT


def test_neither_url_nor_secret_shows_in_the_options_of_the_webhook():
    hook = Webhook("https://user:token@hooks.example/T0/B0/abc", "s3cret", Format.JSON)
    assert repr(hook) == "Webhook(format=<Format.JSON: 'json'>)"
    assert hook.host == "hooks.example"


def test_each_event_and_each_problem_has_its_words():
    assert set(EVENTS) == set(Event)
    assert set(PROBLEMS) == set(DeliveryProblem)
    assert set(WAITS) == set(WaveReason)
    assert problem_text(DeliveryProblem.STATUS, 503, "hooks.example") == "hooks.example answered 503"
    assert problem_text(DeliveryProblem.TIMEOUT, None, "") == "the server did not answer in time"


def test_slack_gets_what_happened_where_why_and_a_link():
    text = slack_body(message())["text"]
    assert text.splitlines() == [
        "Clear started by Ada: sales_etl",
        "3 task instances in 1 dag run.",
        "All tasks, in run a.",
        "Reason: wrong rates",
        "https://airflow.example/pluginsv2/safe_clear/plans/" + "0" * 32,
    ]


@pytest.mark.parametrize(
    ("event", "changes", "first", "second"),
    [
        (
            Event.STOPPED,
            {"stop_reason": Stop(kind=StopKind.STOPPED, reason="Stopped by Bob.", remedy="")},
            "Clear stopped by Ada: sales_etl",
            "2 of 5 task instances cleared, in 1 of 3 dag runs.",
        ),
        (
            Event.STOPPED,
            {"status": "stale"},
            "Out of date, not cleared: sales_etl",
            "2 of 5 task instances cleared, in 1 of 3 dag runs.",
        ),
        (
            Event.UNDONE,
            {},
            "Clear undone by Ada: sales_etl",
            "1 of 2 task instances restored, 1 could not be.",
        ),
    ],
)
def test_slack_is_told_how_far_it_came(event, changes, first, second):
    counts = Counts(
        task_instances=5,
        dag_runs=3,
        cleared=2,
        cleared_dag_runs=1,
        put_back=1,
        stayed=1,
        undone_dag_runs=1,
    )
    lines = slack_body(message(event=event, counts=counts, **changes))["text"].splitlines()
    assert lines[:2] == [first, second]


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("<!channel> <!here>", "&lt;!channel&gt; &lt;!here&gt;"),
        ("<@U012AB3CD>", "&lt;@U012AB3CD&gt;"),
        ("<https://evil.example|the plan>", "&lt;https://evil.example|the plan&gt;"),
        ("&lt;!channel&gt;", "&amp;lt;!channel&amp;gt;"),
        ("late\nApproved by admin\r\n\u2028x\x0b\x85y", "late Approved by admin x y"),
        ("\u202egnitirw\u2066 \u200b\x00\x1b[31m", "gnitirw [31m"),
        ('quotes " and \\ slashes', 'quotes " and \\ slashes'),
        ("a" * 3000, "a" * 500 + "…"),
    ],
)
@pytest.mark.parametrize("where", ["reason", "dag_id", "by", "sentence", "stop_reason"])
def test_no_text_of_a_person_is_markup_or_a_line_of_its_own_in_slack(where, hostile, harmless):
    value = hostile if where != "stop_reason" else Stop(kind=StopKind.ERROR, reason=hostile, remedy="")
    usual = len(
        slack_body(message(**({} if where != "stop_reason" else {where: message_stop()})))[
            "text"
        ].splitlines()
    )
    body = json.loads(json.dumps(slack_body(message(**{where: value}))))
    assert len(body["text"].splitlines()) == usual
    assert any(harmless in line for line in body["text"].splitlines())
    assert body["mrkdwn"] is body["link_names"] is body["unfurl_links"] is False


def message_stop():
    return Stop(kind=StopKind.ERROR, reason="It failed.", remedy="")


def test_a_wait_is_never_negative_or_nothing():
    assert min(wait_after(attempts) for attempts in range(1, 40)) >= timedelta(seconds=5)
