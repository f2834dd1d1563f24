"""The server paces what holds the scheduler's lock, and says when to ask again; no client has to know it."""

from __future__ import annotations

import time

import pytest

from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.undo import restore
from tests.support.auth import TEAM_A, login
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.scheduler_lock import Recorder, shares
from tests.views.actions import apply_all, make, path, post, press, title

LONG = 30


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    return store_etl(session, runs=5, **({"access_control": TEAM_A} if auth_manager_name == "fab" else {}))


@pytest.fixture
def cleared(client):
    plan = make(client)
    apply_all(client, plan)
    return plan


@pytest.fixture
def schedulers_turn(session):
    """Return a function that leaves the lock to the schedulers for long, or no more."""

    def leave(*, on: bool = True) -> None:
        session.rollback()
        session.execute(scheduler_pause.pause.delete())
        if on:
            scheduler_pause.extend(LONG, session)
        session.commit()

    return leave


def test_a_program_that_never_waits_undoes_all_and_leaves_half_of_the_time(client, cleared, monkeypatch):
    real = restore.restore_runs

    def slow(*args):
        real(*args)
        time.sleep(0.1)

    monkeypatch.setattr(restore, "restore_runs", slow)
    with Recorder() as recorder:
        answer = post(client, cleared, "undo")
        while answer.get_json()["under_way"]:
            assert answer.status_code == 200
            # Told when to come back, in seconds and in whole ones.
            assert 0 < answer.get_json()["retry_after"] <= 1
            assert answer.headers["Retry-After"] == "1"
            answer = post(client, cleared, "undo", go_on=True)
    assert (answer.get_json()["put_back"], answer.get_json()["retry_after"]) == (10, 0)
    assert "Retry-After" not in answer.headers
    assert len(recorder.held) == 5
    assert max(shares(recorder.held)) <= 0.5


def test_out_of_turn_a_program_is_told_when_to_come_back(client, cleared, schedulers_turn):
    schedulers_turn()
    answer = post(client, cleared, "undo", run_id=["run_1"])
    body = answer.get_json()
    assert (answer.status_code, body["under_way"], body["done"], body["total"]) == (200, True, 0, 2)
    assert LONG / 2 < body["retry_after"] <= LONG
    assert LONG / 2 < int(answer.headers["Retry-After"]) <= LONG
    schedulers_turn(on=False)
    body = post(client, cleared, "undo", go_on=True).get_json()
    assert (body["under_way"], body["put_back"]) == (False, 2)


def test_out_of_turn_a_person_sees_the_undo_under_way(client, cleared, schedulers_turn):
    login(client, "admin")
    page = client.get(path(cleared, "/undo")).text
    schedulers_turn()
    assert press(client, page, "confirm", reason="").status_code == 303
    assert title(client.get(path(cleared)).text) == "Restoring: 0 of 10 task instances"


def test_a_clear_of_what_is_scheduled_is_told_too(client, session, dag, schedulers_turn):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=20), state="running")
    set_states(run, {"load": "scheduled"}, session=session)
    plan = make(client, run_id=["live"])
    schedulers_turn()
    answer = post(client, plan, "apply")
    body = answer.get_json()
    assert (answer.status_code, body["status"], body["done"]) == (200, "applying", 0)
    assert LONG / 2 < body["retry_after"] <= LONG
    schedulers_turn(on=False)
    answer = post(client, plan, "apply")
    assert (answer.get_json()["status"], answer.get_json()["retry_after"]) == ("applied", 0)
