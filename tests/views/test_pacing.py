"""What holds the scheduler's lock is paced, whoever asked for it."""

from __future__ import annotations

import time

import pytest

from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.undo import restore
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import drive, set_clock_forward, try_once
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.scheduler_lock import Recorder, shares
from tests.views.actions import apply_all, make, path, progress, title, undo_all

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


def test_an_undo_leaves_the_schedulers_half_of_the_time(client, cleared, monkeypatch):
    real = restore.restore_runs

    def slow(*args):
        real(*args)
        time.sleep(0.1)

    monkeypatch.setattr(restore, "restore_runs", slow)
    with Recorder() as recorder:
        assert undo_all(client, cleared)["put_back"] == 10
    assert len(recorder.held) == 5
    assert max(shares(recorder.held)) <= 0.5


def test_out_of_turn_it_is_under_way_and_done_in_turn(client, session, cleared, schedulers_turn):
    schedulers_turn()
    answer = client.post(path(cleared, "/undo"), json={"run_id": ["run_1"]}, headers=bearer("admin"))
    assert (answer.status_code, answer.get_json()["done"], answer.get_json()["total"]) == (202, 0, 2)
    try_once(cleared["id"])
    found = progress(client, cleared, "undo")
    assert (found["under_way"], found["done"]) == (True, 0)
    login(client, "admin")
    assert title(client.get(path(cleared)).text) == "Restoring: 0 of 2 task instances"
    schedulers_turn(on=False)
    set_clock_forward(session, get_plan(cleared["id"]), LONG)
    drive(cleared["id"])
    assert progress(client, cleared, "undo")["put_back"] == 2


def test_a_clear_of_what_is_scheduled_takes_its_turn_too(client, session, dag, schedulers_turn):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=20), state="running")
    set_states(run, {"load": "scheduled"}, session=session)
    plan = make(client, run_id=["live"])
    schedulers_turn()
    body = {"fingerprint": plan["fingerprint"]}
    assert client.post(path(plan, "/apply"), json=body, headers=bearer("admin")).status_code == 202
    try_once(plan["id"])
    assert (progress(client, plan)["status"], progress(client, plan)["done"]) == ("applying", 0)
    schedulers_turn(on=False)
    set_clock_forward(session, get_plan(plan["id"]), LONG)
    drive(plan["id"])
    assert progress(client, plan)["status"] == "applied"
