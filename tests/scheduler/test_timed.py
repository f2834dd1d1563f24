"""What a clear was said to cost, against what it then cost. On a busy machine everything takes longer."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from tests.support.plans import apply_to_the_end, make_plan

RUNS = ("real_1", "real_2")
PER_RUN = 5


@pytest.fixture(scope="module")
def real_runs(stage):
    """Runs that the scheduler has made, so that the estimate rests on what tasks really take here."""
    for run_id in RUNS:
        body = {"dag_run_id": run_id, "logical_date": None}
        stage.server.api("POST", "/api/v2/dags/timed/dagRuns", json=body).raise_for_status()
    wait_for_success(stage)


def wait_for_success(stage):
    stage.wait_until(
        lambda: set(stage.run_states("timed").values()) == {"success"}, "all runs of timed have ended"
    )


def measured(stage):
    """Return the durations added up, and when the last one ended."""
    found = stage.task_instances("timed").values()
    return sum(ti.duration for ti in found), max(ti.end_date for ti in found)


def test_the_estimate_is_about_right(stage, real_runs, capsys):
    plan = make_plan(stage.server, dag_id="timed", run_id=RUNS)
    foreseen = plan["estimate"]
    assert (foreseen["successes"], foreseen["unknown_tasks"]) == (len(RUNS) * PER_RUN, [])
    before, _ = measured(stage)
    begun = datetime.now(timezone.utc)
    assert apply_to_the_end(stage.server, plan).json()["status"] == "applied"
    wait_for_success(stage)
    task_seconds, end = measured(stage)
    seconds = (end - begun).total_seconds()

    with capsys.disabled():
        print(
            f"\n{len(RUNS)} runs of {PER_RUN} task instances, held up by {foreseen['held_by'] or 'nothing'}"
        )
        print(f"{'seconds':<12}{'median':>9}{'p90':>9}{'real':>9}{'before':>9}")
        for name, real, past in (("task_seconds", task_seconds, f"{before:9.1f}"), ("seconds", seconds, "")):
            print(f"{name:<12}{foreseen[name]:9.1f}{foreseen[name + '_slow']:9.1f}{real:9.1f}{past}")

    assert task_seconds / 2 < foreseen["task_seconds"] < task_seconds * 2
    assert foreseen["seconds"] / 2 < seconds < foreseen["seconds"] * 3
