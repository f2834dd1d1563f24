"""What the webhook is told: one message for each step of a plan, written if and only if the step is."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from airflow.configuration import conf
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.webhook import Event, Message
from safe_clear_plugin.services.clear import apply, approval
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.slow_batches import RunTooSlow
from safe_clear_plugin.storage.clear import batches
from safe_clear_plugin.storage.tables import plan
from safe_clear_plugin.storage.undo import restore
from safe_clear_plugin.storage.webhook import outbox
from tests.db.acting import ME, OTHER, clear, days, now, plan_of, reread, step, undo, undo_step
from tests.support.driving import drive
from tests.support.scenes import store_etl
from tests.support.statements import statements
from tests.support.webhook import BASE_URL, configure, messages, told

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def dag(session):
    return store_etl(session, runs=4)


@pytest.fixture
def webhook(monkeypatch):
    configure(monkeypatch, "https://hooks.example")


@pytest.fixture
def two_batches(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "6")


@pytest.mark.airflow32
@pytest.mark.usefixtures("webhook", "two_batches")
def test_a_clear_and_its_undo_are_told_in_order(session):
    made = undo(clear(days(1, 4)))
    assert told(session) == [("started", "applying"), ("done", "applied"), ("undone", "undone")]
    first, done, last = [json.loads(row.body) for row in messages(session)]
    assert [one["number"] for one in (first, done, last)] == [1, 2, 3]
    assert len({one["id"] for one in (first, done, last)}) == 3
    expected = {
        "schema_version": 1,
        "plan_id": made.id,
        "url": f"{BASE_URL}/pluginsv2/safe_clear/plans/{made.id}",
        "dag_id": "etl",
        "by": "Me",
        "created_by": "Me",
        "reason": "because",
        "stop_reason": None,
    }
    assert expected.items() <= first.items()
    assert expected.items() <= done.items()
    assert last["reason"] == "I mixed the date"
    counts = {
        "task_instances": 12,
        "dag_runs": 4,
        "cleared": 12,
        "cleared_dag_runs": 4,
        "put_back": 0,
        "stayed": 0,
        "undone_dag_runs": 0,
    }
    assert first["counts"] == {**counts, "cleared": 0, "cleared_dag_runs": 0}
    assert done["counts"] == counts
    assert last["counts"] == {**counts, "put_back": 12, "undone_dag_runs": 4}


@pytest.mark.usefixtures("webhook")
def test_an_undo_of_one_run_is_told_once_it_is_complete(session):
    made = clear(days(1, 4))
    undo(made, "run_2")
    assert told(session)[2:] == [("undone", "applied")]
    undo(made)
    assert told(session)[2:] == [("undone", "applied"), ("undone", "undone")]


@pytest.mark.usefixtures("webhook", "two_batches")
def test_a_stop_by_a_person_is_told_once_and_so_is_going_on(session):
    made = step(plan_of(days(1, 4)))
    stopped = stop_plan(made, OTHER, now())
    stop_plan(stopped, OTHER, now())
    drive(step(stopped, OTHER, resume=True).id)
    assert told(session) == [
        ("started", "applying"),
        ("stopped", "stopped"),
        ("resumed", "applying"),
        ("done", "applied"),
    ]
    body = json.loads(messages(session)[1].body)
    assert body["by"] == "Somebody else"
    assert body["stop_reason"]["kind"] == "stopped"
    assert body["stop_reason"]["reason"] == "Stopped by Somebody else."
    assert (body["counts"]["cleared"], body["counts"]["cleared_dag_runs"]) == (6, 2)


@pytest.mark.usefixtures("webhook", "two_batches")
def test_drift_under_way_is_told_as_a_stop_by_nobody(session):
    made = step(plan_of(days(1, 4)))
    task_instances_of(session)[-1].state = "running"
    session.commit()
    drive(made.id)
    body = json.loads(messages(session)[-1].body)
    assert (body["event"], body["status"], body["by"]) == ("stopped", "stopped", "")
    assert body["stop_reason"]["kind"] == "drift"


@pytest.mark.usefixtures("webhook")
def test_a_plan_that_is_out_of_date_is_told_as_a_stop_that_cleared_nothing(session):
    made = plan_of(days(1, 4))
    task_instances_of(session)[0].state = "running"
    session.commit()
    with pytest.raises(Refused):
        step(made)
    assert told(session) == [("stopped", "stale")]
    assert json.loads(messages(session)[0].body)["counts"]["cleared"] == 0


@pytest.mark.usefixtures("webhook")
def test_a_request_for_approval_and_its_answer_are_told(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    made = plan_of(days(1, 4))
    for _ in range(2):
        made = approval.request_approval(made, "please", ME, now())
    for _ in range(2):
        made = approval.decline_plan(made, "not today", OTHER, now())
    assert told(session) == [("approval_requested", "waiting"), ("declined", "declined")]
    asked, declined = [json.loads(row.body) for row in messages(session)]
    assert (asked["by"], asked["reason"]) == ("Me", "please")
    assert (declined["by"], declined["reason"], declined["created_by"]) == (
        "Somebody else",
        "not today",
        "Me",
    )


def test_without_a_webhook_nothing_is_written_and_no_statement_more_is_executed(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL", "  ")
    with statements(session) as executed:
        undo(clear(days(1, 4)))
    assert messages(session) == []
    assert [one for one in executed if "safe_clear_message" in one] == []


@pytest.mark.usefixtures("webhook")
def test_what_is_rolled_back_is_not_told(session, monkeypatch):
    made = plan_of(days(1, 4))
    monkeypatch.setattr(batches, "finish_batch", lambda *_, **__: 1 / 0)
    step(made)
    assert told(session) == [("started", "applying"), ("stopped", "stopped")]
    assert json.loads(messages(session)[1].body)["stop_reason"]["kind"] == "error"


@pytest.mark.usefixtures("webhook")
def test_a_message_that_cannot_be_written_takes_its_step_with_it(session, monkeypatch):
    made = plan_of(days(1, 4))
    monkeypatch.setattr(outbox, "sentence", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(made)
    assert reread(made, session).status == "ready"
    assert messages(session) == []


@pytest.mark.usefixtures("webhook", "two_batches")
def test_an_undo_that_a_person_stops_is_told(session):
    made = clear(days(1, 4))
    undo_step(made)
    stop_plan(reread(made, session), OTHER, now())
    assert told(session)[2:] == [("undo_stopped", "applied")]
    body = json.loads(messages(session)[2].body)
    assert (body["by"], body["stop_reason"]) == ("Somebody else", None)
    assert (body["counts"]["put_back"], body["counts"]["undone_dag_runs"]) == (6, 2)


@pytest.mark.usefixtures("webhook")
def test_an_undo_that_is_given_up_is_told_with_the_reason(session, monkeypatch):
    made = clear(days(1, 4))
    monkeypatch.setattr(restore, "differences", lambda *_: ["a row"])
    undo(made)
    assert told(session)[2:] == [("undo_stopped", "applied")]
    body = json.loads(messages(session)[2].body)
    assert (body["by"], body["reason"]) == ("Me", "I mixed the date")
    assert "not restored exactly" in body["stop_reason"]["reason"]


@pytest.mark.usefixtures("webhook")
def test_an_undo_that_left_a_run_out_is_told_once_it_ends(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")
    made = clear(days(1, 4))
    monkeypatch.setattr(restore, "restore_runs", too_slow_for({"run_4"}))
    undo(made)
    assert told(session)[2:] == [("undo_stopped", "applied")]
    body = json.loads(messages(session)[2].body)
    assert "run_4 stays cleared" in body["stop_reason"]["remedy"]
    assert body["counts"]["undone_dag_runs"] == 3


@pytest.mark.usefixtures("webhook")
def test_an_undo_after_one_that_left_a_run_out_is_told_by_what_it_did_itself(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")
    made, too_slow = clear(days(1, 4)), {"run_4"}
    monkeypatch.setattr(restore, "restore_runs", too_slow_for(too_slow))
    undo(made, "run_4", "run_3")
    undo(made, "run_2")
    assert told(session)[2:] == [("undo_stopped", "applied"), ("undone", "applied")]
    assert json.loads(messages(session)[3].body)["stop_reason"] is None
    # The reason why it stays cleared is still stored.
    left = reread(made, session).left_out
    assert (left.run_ids, left.is_earlier) == (("run_4",), True)
    assert left.to_json()["earlier"] is True
    too_slow.add("run_1")
    undo(made)
    assert told(session)[4:] == [("undo_stopped", "applied")]
    left = reread(made, session).left_out
    assert (sorted(left.run_ids), left.is_earlier) == (["run_1", "run_4"], False)
    too_slow.clear()
    undo(made)
    assert told(session)[5:] == [("undone", "undone")]
    assert reread(made, session).left_out is None


@pytest.mark.usefixtures("webhook")
def test_a_run_that_is_added_to_an_undo_under_way_does_not_make_it_whole(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")
    made = clear(days(1, 4))
    monkeypatch.setattr(restore, "restore_runs", too_slow_for({"run_4"}))
    undo_step(made, "run_4", "run_3")
    assert reread(made, session).left_out is not None
    undo(made, "run_2")
    assert told(session)[2:] == [("undo_stopped", "applied")]
    assert "run_4" in json.loads(messages(session)[2].body)["stop_reason"]["remedy"]


@pytest.mark.usefixtures("webhook", "two_batches")
def test_a_stop_by_a_person_is_not_put_down_to_what_an_earlier_undo_left_out(session, monkeypatch):
    made = clear(days(1, 4))
    monkeypatch.setattr(restore, "restore_runs", too_slow_for({"run_4"}))
    undo(made, "run_4")
    undo_step(made, "run_3", "run_2", "run_1")
    stop_plan(reread(made, session), OTHER, now())
    assert told(session)[3:] == [("undo_stopped", "applied")]
    assert json.loads(messages(session)[3].body)["stop_reason"] is None


def too_slow_for(slow_runs):
    """Return `restore_runs` of a database that does not restore these runs in time."""
    real = restore.restore_runs

    def slow(plan_id, dag_id, run_ids, session):
        if found := slow_runs & set(run_ids):
            raise RunTooSlow(found.pop(), OperationalError("UPDATE", {}, Exception("canceled")))
        real(plan_id, dag_id, run_ids, session)

    return slow


@pytest.mark.airflow32
@pytest.mark.usefixtures("webhook")
def test_a_secrets_backend_that_fails_stops_no_clear_and_loses_no_message(session, monkeypatch):
    monkeypatch.delenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL")
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL_CMD", "false")
    assert clear(days(1, 4)).status == "applied"
    assert told(session) == [("started", "applying"), ("done", "applied")]


@pytest.mark.airflow32
@pytest.mark.usefixtures("webhook")
def test_a_url_that_a_command_gives_counts_and_no_clear_waits_for_it(session, monkeypatch, tmp_path):
    monkeypatch.delenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL")
    command = f"sh -c 'echo asked >> {tmp_path}/asked; echo https://hooks.example/x'"
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL_CMD", command)
    clear(days(1, 4))
    assert len(messages(session)) == 2
    assert not (tmp_path / "asked").exists()
    hook = config.webhook()
    assert hook is not None
    assert hook.host == "hooks.example"


@pytest.mark.airflow32
@pytest.mark.parametrize("option", ["webhook_url", "webhook_url_cmd", "webhook_url_secret"])
def test_a_url_of_airflow_cfg_counts(monkeypatch, option):
    monkeypatch.setitem(conf._sections, "safe_clear", {option: "https://hooks.example/x"})
    assert config.has_webhook()
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__WEBHOOK_URL", "")
    assert not config.has_webhook()


@pytest.mark.usefixtures("webhook")
def test_without_a_full_base_url_a_message_has_no_link(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "/af")
    clear(days(1, 4))
    assert json.loads(messages(session)[0].body)["url"] is None


@pytest.mark.usefixtures("webhook")
def test_every_status_of_a_plan_can_be_told(session):
    made = clear(days(1, 4))
    for event in Event:
        outbox.tell(event, UUID(made.id), session)
    session.commit()
    bodies = [Message.model_validate_json(row.body) for row in messages(session)]
    assert [body.event for body in bodies[2:]] == list(Event)
    assert [body.number for body in bodies] == list(range(1, len(bodies) + 1))


@pytest.mark.usefixtures("webhook")
def test_texts_that_try_to_break_out_of_json_come_back_as_they_were(session):
    hostile = '"}, {"event": "done\u2028\n\\ <!channel> \u202e\x7f'
    made = plan_of(days(1, 4))
    session.execute(update(plan).where(plan.c.id == UUID(made.id)).values(created_by_name=hostile))
    session.commit()
    apply.apply_plan(made, made.fingerprint, hostile, ME, now())
    body = json.loads(messages(session)[0].body)
    assert (body["event"], body["reason"], body["created_by"]) == ("started", hostile, hostile)


def test_a_message_of_a_plan_that_is_gone_is_not_written(session, webhook):
    outbox.tell(Event.DONE, UUID(int=1), session)
    session.commit()
    assert messages(session) == []


def task_instances_of(session):
    return list(session.scalars(select(TaskInstance).order_by(TaskInstance.run_id, TaskInstance.task_id)))
