"""The webhook messages of a change set: one for each event, not one for each plan."""

from __future__ import annotations

import json

import pytest

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.webhook import Message
from safe_clear_plugin.core.webhook_text import lines
from safe_clear_plugin.services.change_sets import approval, control
from safe_clear_plugin.services.undo.undo import undo_plan
from tests.db.acting import ME, OTHER, now
from tests.db.change_set_acting import (
    DAGS,
    clear,
    confirm,
    drive,
    drive_step,
    fake_auth_manager,
    move,
    reread,
    set_of,
    store_dags,
    undo,
)
from tests.support.webhook import BASE_URL, configure, messages, told

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def dags(session, monkeypatch):
    fake_auth_manager(monkeypatch)
    configure(monkeypatch, "https://hooks.example")
    store_dags(session)


def bodies(session):
    return [json.loads(row.body) for row in messages(session)]


def test_a_clear_and_its_undo_are_told_once(session):
    made = clear(set_of(*DAGS))
    undo(made)
    drive(made)
    assert told(session) == [("started", "applying"), ("done", "applied"), ("undone", "undone")]
    first, done, last = bodies(session)
    assert [one["number"] for one in (first, done, last)] == [1, 2, 3]
    for one in (first, done, last):
        assert (one["change_set_id"], one["dag_ids"]) == (made.id, list(DAGS))
        assert one["url"] == f"{BASE_URL}/pluginsv2/safe_clear/change_sets/{made.id}"
        assert one["dag_id"] in DAGS
    assert (first["counts"]["task_instances"], first["counts"]["cleared"]) == (18, 0)
    assert (done["counts"]["cleared"], done["reason"], done["by"]) == (18, "because", "Me")
    assert (last["counts"]["put_back"], last["reason"]) == (18, "I mixed the date")
    text = lines(Message.model_validate(first))
    assert text[:2] == ["Clear started by Me: dag_a, dag_b, dag_c", "18 task instances in 6 dag runs."]


def test_a_stop_under_way_is_told_once_with_the_dag(session):
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    move(session, "dag_b")
    drive(made)
    control.continue_change_set(reread(made), OTHER, now(), skip_stopped=True, reason="go on")
    control.stop_change_set(reread(made), ME, now())
    assert told(session) == [
        ("started", "applying"),
        ("stopped", "stopped"),
        ("resumed", "applying"),
        ("stopped", "stopped"),
    ]
    _, drifted, resumed, stopped = bodies(session)
    assert (drifted["dag_id"], drifted["stop_reason"]["kind"], drifted["by"]) == ("dag_b", "drift", "")
    assert (resumed["by"], resumed["reason"]) == ("Somebody else", "go on")
    assert (stopped["dag_id"], stopped["stop_reason"]["kind"]) == ("dag_c", "stopped")


def test_a_set_that_ends_without_a_plan_that_stopped_is_not_told_as_done(session):
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    move(session, "dag_b")
    drive(made)
    control.continue_change_set(reread(made), OTHER, now(), skip_stopped=True)
    drive(made)
    assert told(session)[2:] == [("resumed", "applying"), ("stopped", "stopped")]
    last = bodies(session)[-1]
    assert (last["dag_id"], last["stop_reason"]["kind"]) == ("dag_b", "drift")


def test_a_confirmation_that_finds_a_stale_plan_is_told_once(session):
    made = set_of(*DAGS)
    move(session, "dag_a")
    move(session, "dag_c")
    with pytest.raises(Refused):
        confirm(made)
    with pytest.raises(Refused):
        confirm(reread(made))
    assert told(session) == [("stopped", "stale")]
    assert bodies(session)[0]["dag_id"] == "dag_a"


def test_a_request_for_approval_and_its_answer_are_told_once(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    asked = approval.request_set_approval(set_of(*DAGS), "bad rates", ME, now())
    approval.decline_change_set(asked, "no", OTHER, now())
    assert told(session) == [("approval_requested", "waiting"), ("declined", "declined")]
    assert [one["reason"] for one in bodies(session)] == ["bad rates", "no"]


def test_the_undo_of_one_plan_is_told_as_the_sets(session):
    made = clear(set_of(*DAGS))
    undo_plan(made.plans[1], (), "this one", ME, now())
    drive(made)
    assert told(session)[2:] == [("undone", "applied")]
    assert bodies(session)[2]["counts"]["put_back"] == 6


def test_a_stopped_undo_is_told_once(session):
    made = clear(set_of(*DAGS))
    undo(made)
    control.stop_change_set(reread(made), ME, now())
    assert told(session)[2:] == [("undo_stopped", "applied")]
