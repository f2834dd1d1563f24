"""Clears in waves, with a scheduler that runs what is cleared and a driver that looks what became of it."""

from __future__ import annotations

import time

from airflow import settings

from safe_clear_plugin.services.plans import get_plan
from tests.db.undo_oracle import everything
from tests.support.plans import PAGES, apply
from tests.support.snapshots import diff_snapshots

MOST = 2
UNFINISHED = ("queued", "running")


def progress(stage, name):
    path = f"{PAGES}/plans/{stage.plans[name]['id']}/progress.json"
    return stage.server.api("GET", path).raise_for_status().json()


def stored(stage, name):
    """Return the plan from the database: the api-server may be busy with its first task for a while."""
    return get_plan(stage.plans[name]["id"])


def rows_of(dag_id, run_ids):
    """Return the rows of the runs and of their task instances, and what Airflow keeps beside them."""
    with settings.NonScopedSession() as session:
        tables = everything(session)
    return {
        name: [row for row in rows if row.get("dag_id") == dag_id and row.get("run_id") in run_ids]
        for name, rows in tables.items()
    }


def test_a_canary_that_fails_stops_there_and_the_other_runs_are_untouched_row_for_row(stage):
    plan = stage.plans["in_canary"]
    others = [run["run_id"] for run in plan["dag_runs"] if run["run_id"] != "run_1"]
    before = rows_of("in_canary", others)
    assert len(others) == 3
    assert sum(map(len, before.values())) >= len(others) * 3
    answer = apply(stage.server, plan, waves={"first_runs": 1, "then": "go_on"})
    assert answer.status_code == 202, answer.text
    stage.wait_until(lambda: stored(stage, "in_canary").is_waiting_for_person, "a person is asked")
    found = progress(stage, "in_canary")
    assert found["waves"]["reason"] == "first_failed"
    assert (found["dag_runs_done"], found["waves"]["runs"]["failed"]) == (1, 1)
    stage.wait_until(lambda: stage.run_states("in_canary")["run_1"] == "failed", "the canary has failed")
    # Longer than a driver waits between two looks.
    time.sleep(8)
    assert diff_snapshots(before, rows_of("in_canary", others)) == {}
    assert stage.states("in_canary")["run_1", "load"] == "failed"
    body = {"skip_failed": True, "reason": "known"}
    path = f"{PAGES}/plans/{plan['id']}/continue"
    assert stage.server.api("POST", path, json=body).status_code == 202
    stage.wait_until(lambda: stored(stage, "in_canary").status == "applied", "the rest is cleared")
    stage.wait_until(
        lambda: all(stage.run_states("in_canary")[run_id] == "success" for run_id in others),
        "the rest has run",
    )
    assert progress(stage, "in_canary")["waves"]["runs"]["done"] == len(others)


def test_never_are_more_runs_unfinished_than_may_be(stage):
    plan = stage.plans["few_at_a_time"]
    answer = apply(stage.server, plan, waves={"at_most_runs": MOST})
    assert answer.status_code == 202, answer.text
    seen, end = [], time.monotonic() + 240
    while not (stored(stage, "few_at_a_time").status == "applied" and stage.has_ended("few_at_a_time")):
        assert time.monotonic() < end, seen
        states = list(stage.run_states("few_at_a_time").values())
        seen.append(sum(state in UNFINISHED for state in states))
        time.sleep(1)
    assert max(seen) == MOST, seen
    assert stage.tally("few_at_a_time") == {"success": len(plan["dag_runs"])}
    assert progress(stage, "few_at_a_time")["waves"]["runs"]["done"] == len(plan["dag_runs"])
