"""Delivery: at least once, in order within a plan, signed, tried again, given up; at a real HTTP server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.retention import clean_up
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.webhook import delivery, post
from safe_clear_plugin.services.webhook.delivery import deliver_due
from safe_clear_plugin.services.webhook.sender import IDLE_SECONDS, Sender
from safe_clear_plugin.services.webhook.undelivered import plans_with_undelivered, send_again, undelivered
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.tables import message, plan
from safe_clear_plugin.storage.webhook import deliveries
from tests.crash.killing import Point, run_killed_at
from tests.db.acting import ME, clear, confirm, days, now, plan_of, reread, undo
from tests.support.receiver import answer, answer_late, close, drip, flood, receiving, self_signed
from tests.support.scenes import store_etl
from tests.support.webhook import (
    SECRET,
    TOKEN,
    age,
    configure,
    deliver_all,
    make_due,
    messages,
    states,
)

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def dag(session):
    return store_etl(session, runs=2)


@pytest.fixture
def receiver(monkeypatch):
    with receiving() as server:
        configure(monkeypatch, server.url)
        yield server


@pytest.fixture
def cleared(receiver):
    """Clear a plan, with two messages due: started and done."""
    return clear(days(1, 2))


@pytest.mark.airflow32
@pytest.mark.usefixtures("cleared")
def test_messages_arrive_in_order_signed_and_once(session, receiver):
    assert deliver_all() == 2
    assert receiver.told == [(1, "started"), (2, "done")]
    assert states(session) == [("delivered", 1), ("delivered", 1)]
    for got, row in zip(receiver.received, messages(session), strict=True):
        assert got.path == f"/hooks/{TOKEN}"
        assert got.body.decode() == row.body
        assert got.headers["content-type"] == "application/json"
        assert got.headers["webhook-id"] == got.json["id"]
        assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 300
        signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
        digest = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        assert got.headers["webhook-signature"] == f"v1,{digest}"


@pytest.mark.parametrize(
    ("behave", "problem", "status"),
    [
        pytest.param(answer(500), "status", 500, id="fails"),
        pytest.param(answer(404), "status", 404, id="does not know the address"),
        pytest.param(close, "closed", None, id="closes"),
        pytest.param(answer_late(), "timeout", None, id="answers late"),
        pytest.param(drip, "timeout", None, id="drips its headers"),
        pytest.param(answer(302, location="/elsewhere"), "redirect", 302, id="redirects"),
        pytest.param(answer(304), "redirect", 304, id="says that nothing changed"),
    ],
)
@pytest.mark.usefixtures("cleared")
def test_a_message_that_fails_is_sent_again_and_the_next_waits_for_it(
    session, receiver, monkeypatch, behave, problem, status
):
    if problem == "timeout":
        monkeypatch.setattr(post, "TIMEOUT", 0.7)
    receiver.next.append(behave)
    begun = time.monotonic()
    assert deliver_due()
    assert time.monotonic() - begun < 5
    assert not deliver_due()
    first = messages(session)[0]
    assert (first.problem, first.http_status) == (problem, status)
    assert states(session) == [("pending", 1), ("pending", 0)]
    receiver.release.set()
    make_due(session)
    assert deliver_all() == 2
    assert receiver.told == [(1, "started"), (1, "started"), (2, "done")]
    assert receiver.received[0].body == receiver.received[1].body
    assert states(session) == [("delivered", 2), ("delivered", 1)]


@pytest.mark.usefixtures("cleared")
def test_a_redirect_is_not_followed(receiver):
    with receiving() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            receiver.next.append(answer(status, location=f"{elsewhere.url}/inside"))
        deliver_due()
        assert elsewhere.received == []
    assert len(receiver.received) == 1


@pytest.mark.usefixtures("cleared")
def test_an_answer_without_end_is_not_read(session, receiver):
    receiver.next.append(flood)
    assert deliver_due()
    assert states(session)[0] == ("delivered", 1)
    wait_for(lambda: hasattr(receiver, "flooded"))
    assert receiver.flooded < 64 * 1024**2


@pytest.mark.usefixtures("cleared")
def test_a_server_that_is_not_there_is_unreachable(session, monkeypatch):
    configure(monkeypatch, "http://127.0.0.1:1")
    deliver_due()
    assert messages(session)[0].problem == "unreachable"


@pytest.mark.usefixtures("cleared")
def test_a_name_that_does_not_exist_is_unreachable(session, monkeypatch):
    configure(monkeypatch, "http://no-such-host.invalid")
    deliver_due()
    assert messages(session)[0].problem == "unreachable"


@pytest.mark.usefixtures("cleared")
def test_waits_grow_and_the_receiver_may_ask_for_a_longer_one(session, receiver):
    receiver.always = answer(503)
    waits = []
    for _ in range(4):
        before = session.scalar(select(database_time()))
        session.rollback()
        deliver_due()
        waits.append(round((messages(session)[0].next_attempt_at - before).total_seconds()))
        make_due(session)
    receiver.always = answer(429, retry_after="600")
    before = session.scalar(select(database_time()))
    session.rollback()
    deliver_due()
    waits.append(round((messages(session)[0].next_attempt_at - before).total_seconds()))
    assert [wait - expected for wait, expected in zip(waits, (5, 10, 20, 40, 600), strict=True)] == (
        pytest.approx([0] * 5, abs=3)
    )


@pytest.mark.usefixtures("cleared")
def test_a_receiver_that_asks_for_a_shorter_wait_each_time_does_not_get_it(session, receiver):
    receiver.always = answer(503, retry_after="1")
    for _ in range(4):
        make_due(session)
        before = session.scalar(select(database_time()))
        session.rollback()
        deliver_due()
    wait = messages(session)[0].next_attempt_at - before
    assert wait.total_seconds() == pytest.approx(40, abs=3)


def test_a_plan_that_fails_does_not_hold_up_another(session, receiver):
    first = clear(days(1, 1))
    receiver.next.append(answer(500))
    deliver_due()
    second = clear(days(2, 2))
    assert deliver_all() == 2
    plans = [one.json["plan_id"] for one in receiver.received]
    assert plans == [first.id, second.id, second.id]


@pytest.mark.usefixtures("cleared")
def test_a_message_is_given_up_after_a_day_and_the_next_goes_on(session, receiver):
    receiver.always = answer(500)
    deliver_due()
    age(session, 24 * 3600 - 8)
    make_due(session)
    deliver_due()
    assert states(session) == [("failed", 2), ("pending", 0)]
    receiver.always = answer(200)
    make_due(session)
    assert deliver_all() == 1
    assert states(session) == [("failed", 2), ("delivered", 1)]


@pytest.mark.usefixtures("cleared")
def test_what_no_driver_sent_in_a_day_is_not_sent_late(session, receiver, cleared):
    age(session, 25 * 3600)
    assert deliver_all() == 2
    assert receiver.received == []
    assert {row.problem for row in messages(session)} == {"expired"}
    assert [one.text for one in undelivered(cleared, session)] == ["no driver sent it within a day"] * 2


def test_what_nobody_sends_in_a_day_is_shown_and_sent_again_when_somebody_asks(session, receiver, cleared):
    """No driver runs, so the messages are not given up."""
    session.rollback()
    assert undelivered(cleared, session) == []
    age(session, 24 * 3600 + 1)
    found = undelivered(cleared, session)
    assert [(one.event, one.attempts, one.problem) for one in found] == [
        ("started", 0, "expired"),
        ("done", 0, "expired"),
    ]
    assert plans_with_undelivered([cleared], session) == {cleared.id}
    session.rollback()
    send_again(cleared)
    assert undelivered(cleared, session) == []
    session.rollback()
    assert deliver_all() == 2
    assert receiver.told == [(1, "started"), (2, "done")]


def test_what_was_given_up_is_sent_again_when_somebody_asks(session, receiver, cleared):
    receiver.always = answer(500)
    age(session, 24 * 3600 - 1)
    deliver_all()
    found = undelivered(reread(cleared, session), session)
    session.rollback()
    assert [(one.number, one.event, one.problem, one.http_status) for one in found] == [
        (1, "started", "status", 500),
        (2, "done", "status", 500),
    ]
    assert {one.text for one in found} == {"127.0.0.1 answered 500"}
    receiver.always = answer(200)
    send_again(cleared)
    assert undelivered(cleared, session) == []
    session.rollback()
    assert deliver_all() == 2
    assert receiver.told[2:] == [(1, "started"), (2, "done")]
    assert receiver.received[0].json["id"] == receiver.received[2].json["id"]


def test_two_senders_send_each_message_once_and_in_order(session, receiver):
    made = [clear(days(1, 1)), clear(days(2, 2))]
    made = [undo(plan) for plan in made]

    def send(_):
        while deliver_due():
            pass

    receiver.always = answer_slowly
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    deliver_all()
    by_plan = {plan.id: [] for plan in made}
    for one in receiver.received:
        by_plan[one.json["plan_id"]].append(one.json["number"])
    assert list(by_plan.values()) == [[1, 2, 3], [1, 2, 3]]
    assert states(session) == [("delivered", 1)] * 6


def answer_slowly(handler, receiver):
    time.sleep(0.1)
    answer(200)(handler, receiver)


@pytest.mark.usefixtures("cleared")
def test_nobody_else_sends_what_is_in_flight(receiver):
    receiver.next.append(answer_late())
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(deliver_due)
        assert receiver.arrived.wait(10)
        assert not deliver_due()
        receiver.release.set()
        assert one.result(10)
    assert receiver.told == [(1, "started")]


@pytest.mark.usefixtures("cleared")
def test_a_sender_that_comes_back_after_its_lease_does_not_record_over_another(session, receiver):
    receiver.next += [answer_late(200), answer(502)]
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(deliver_due)
        assert receiver.arrived.wait(10)
        make_due(session)
        assert deliver_due()
        receiver.release.set()
        one.result(10)
    first = messages(session)[0]
    assert (first.delivery, first.attempts, first.http_status) == ("pending", 2, 502)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sender_that_is_killed_around_the_request_has_it_sent_again(session, receiver, cleared, moment):
    session.rollback()
    run_killed_at(Point(moment, "post", (delivery, "post"), 1), deliver_due)
    arrived = 0 if moment == "before" else 1
    assert len(receiver.received) == arrived
    assert states(session) == [("pending", 1), ("pending", 0)]
    assert not deliver_due()
    make_due(session)
    assert deliver_all() == 2
    assert receiver.told == [*[(1, "started")] * (arrived + 1), (2, "done")]
    assert len({one.json["id"] for one in receiver.received}) == 2


def test_a_sender_that_is_killed_once_it_took_a_message_has_it_sent(session, receiver, cleared):
    session.rollback()
    run_killed_at(Point("after", "take", (deliveries, "take"), 1), deliver_due)
    assert states(session) == [("pending", 0), ("pending", 0)]
    assert deliver_all() == 2
    assert receiver.told == [(1, "started"), (2, "done")]


@pytest.mark.usefixtures("cleared")
def test_neither_log_nor_answer_has_the_url_or_the_secret(session, receiver, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "safe_clear_plugin"):
        caplog.set_level(logging.DEBUG, logger=name)
    monkeypatch.setattr(post, "TIMEOUT", 0.5)
    receiver.next += [answer(302, location=f"/{TOKEN}"), answer(200), close, answer_late()]
    for _ in range(4):
        make_due(session)
        deliver_due()
    urls = ("http://127.0.0.1:1", "http://no-such-host.invalid", "http://[::1", "http://\u2603.invalid:99999")
    for url in urls:
        configure(monkeypatch, url)
        make_due(session)
        deliver_due()
    configure(monkeypatch, receiver.url, webhook_secret=f"whsec_{SECRET}ä")
    make_due(session)
    deliver_due()
    written = "".join([caplog.text, *capfd.readouterr()])
    assert "webhook was not told" in written
    assert "127.0.0.1" in written
    for secret in (TOKEN, SECRET):
        assert secret not in written
    assert not any(secret in str(row) for row in messages(session) for secret in (TOKEN, SECRET))


@pytest.mark.usefixtures("cleared")
def test_httpx_still_logs_the_requests_of_others(receiver, caplog):
    caplog.set_level(logging.INFO, logger="httpx")
    deliver_due()
    assert caplog.text == ""
    httpx.post(f"{receiver.url}/other")
    assert "/other" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("webhook_url", "ftp://hooks.example/x", "`webhook_url`"),
        ("webhook_url", "https://", "`webhook_url`"),
        ("webhook_url", "file:///etc/passwd", "`webhook_url`"),
        ("webhook_secret", "whsec_***", "`webhook_secret`"),
        ("webhook_format", "teams", "`webhook_format`"),
        ("webhook_url", "", "`webhook_url`"),
    ],
)
@pytest.mark.usefixtures("cleared")
def test_an_option_that_cannot_be_used_is_named_in_the_log_and_the_message_waits(
    session, receiver, monkeypatch, caplog, option, value, said
):
    monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{option.upper()}", value)
    deliver_due()
    assert said in caplog.text
    assert (messages(session)[0].delivery, messages(session)[0].problem) == ("pending", "option")
    assert receiver.received == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.usefixtures("cleared")
def test_a_proxy_that_cannot_be_used_is_said_and_the_message_waits(session, monkeypatch, caplog, variable):
    monkeypatch.setenv(variable, f"gopher://user:{TOKEN}@proxy.example:1")
    deliver_due()
    assert "HTTPS_PROXY" in caplog.text
    assert TOKEN not in caplog.text
    assert messages(session)[0].problem == "option"


@pytest.mark.usefixtures("cleared")
def test_the_proxy_of_the_environment_is_used(session, receiver, monkeypatch):
    configure(monkeypatch, "http://hooks.example")
    monkeypatch.setenv("HTTP_PROXY", receiver.url)
    deliver_due()
    assert [one.path for one in receiver.received] == [f"http://hooks.example/hooks/{TOKEN}"]


@pytest.mark.usefixtures("cleared")
def test_a_certificate_that_nobody_vouches_for_is_not_trusted(session, monkeypatch, tmp_path):
    with receiving(self_signed(tmp_path)) as receiver:
        configure(monkeypatch, receiver.url)
        deliver_due()
        assert messages(session)[0].problem == "certificate"
        assert receiver.received == []


@pytest.mark.usefixtures("cleared")
def test_a_certificate_of_the_environment_s_authority_is_trusted(session, monkeypatch, tmp_path):
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiving(certificate) as receiver:
        configure(monkeypatch, receiver.url)
        assert deliver_all() == 2
    assert receiver.told == [(1, "started"), (2, "done")]


@pytest.mark.usefixtures("cleared")
def test_slack_gets_its_own_format(receiver, monkeypatch):
    configure(monkeypatch, receiver.url, webhook_format="slack")
    deliver_due()
    body = receiver.received[0].json
    assert set(body) == {"text", "mrkdwn", "link_names", "unfurl_links", "unfurl_media"}
    assert body["text"].startswith("Clear started by Me: etl\n6 task instances in 2 dag runs.\n")


@pytest.mark.usefixtures("cleared")
def test_an_error_inside_safe_clear_keeps_no_other_message_waiting(session, receiver, monkeypatch, caplog):
    session.execute(update(message).where(message.c.number == 1).values(body="{}"))
    session.commit()
    configure(monkeypatch, receiver.url, webhook_format="slack")
    deliver_due()
    assert messages(session)[0].problem == "error"
    assert "ValidationError" in caplog.text
    # The place where it came up, without the values in its text.
    assert "in body_of" in caplog.text
    assert "Field required" not in caplog.text


@pytest.mark.usefixtures("cleared")
def test_messages_go_with_their_plan(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "7")
    session.execute(update(plan).values(last_step_at=now() - timedelta(days=8)))
    session.commit()
    clean_up(now())
    assert messages(session) == []


@pytest.mark.airflow32
def test_a_webhook_that_hangs_delays_neither_a_clear_nor_its_undo(receiver, monkeypatch):
    receiver.always = answer_late()
    stop = threading.Event()
    driver = threading.Thread(target=Driver().run, args=(stop,), daemon=True)
    driver.start()
    try:
        made = confirm(plan_of(days(1, 2)))
        assert receiver.arrived.wait(10)
        begun = time.monotonic()
        wait_for(lambda: get_plan(made.id).status == "applied")
        undo_plan(get_plan(made.id), [], "because", ME, now())
        wait_for(lambda: get_plan(made.id).status == "undone")
        assert time.monotonic() - begun < 9
        assert len(receiver.received) == 1
    finally:
        begun = time.monotonic()
        stop.set()
        driver.join(15)
    assert time.monotonic() - begun < 5
    receiver.release.set()
    wait_for_sender()


def test_a_sender_tells_what_comes_while_it_runs(receiver, monkeypatch):
    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.IDLE_SECONDS", 0.05)
    sender = Sender()
    sender.start()
    try:
        clear(days(1, 2))
        wait_for(lambda: len(receiver.received) == 2)
        assert receiver.told == [(1, "started"), (2, "done")]
    finally:
        sender.stop()
    wait_for_sender()


def test_a_sender_lives_through_an_error_that_nobody_foresaw(receiver, monkeypatch, caplog):
    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.IDLE_SECONDS", 0.05)
    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.FIRST_FAILED_SECONDS", 0.05)
    real, failed = deliver_due, []

    def fail_twice():
        if len(failed) < 2:
            failed.append(time.monotonic())
            raise ZeroDivisionError("a row that nobody foresaw")
        return real()

    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.deliver_due", fail_twice)
    sender = Sender()
    sender.start()
    try:
        clear(days(1, 2))
        wait_for(lambda: len(receiver.received) == 2)
    finally:
        sender.stop()
    wait_for_sender()
    assert failed[1] - failed[0] >= 0.05
    assert caplog.text.count("ZeroDivisionError: a row that nobody foresaw") == 1
    assert "Traceback" in caplog.text


def test_the_wait_after_errors_grows_and_ends_with_them(receiver, monkeypatch):
    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.deliver_due", lambda: 1 / 0)
    sender = Sender()
    assert [sender._send_next() for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    monkeypatch.undo()
    assert sender._send_next() == IDLE_SECONDS
    monkeypatch.setattr("safe_clear_plugin.services.webhook.sender.deliver_due", lambda: 1 / 0)
    assert sender._send_next() == 5


def test_without_a_webhook_there_is_no_thread(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL", "")
    sender = Sender()
    sender.start()
    assert not any(thread.name == "safe-clear-webhook" for thread in threading.enumerate())
    sender.stop()


def wait_for(is_so):
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_sender():
    for thread in threading.enumerate():
        if thread.name == "safe-clear-webhook":
            thread.join(15)
            assert not thread.is_alive()
