"""What starts, and what does not: the scheduler has had all the time that the others needed."""

from __future__ import annotations

import pytest

from tests.support.plans import apply_to_the_end


def test_in_a_paused_dag_nothing_starts_until_it_is_unpaused(stage):
    assert stage.finding("asleep", "dag_paused")["count"] == 2
    assert stage.run_states("asleep") == {"run_1": "queued", "run_2": "queued"}
    assert stage.tally("asleep") == {None: 2}
    stage.pause("asleep", paused=False)
    stage.wait_until(lambda: stage.has_ended("asleep"), "unpaused, it has run")
    assert stage.tally("asleep") == {"success": 2}


def test_in_finished_runs_that_keep_their_state_nothing_starts(stage):
    assert stage.finding("kept_finished", "runs_not_reset")["count"] == 2
    assert stage.run_states("kept_finished") == {"run_1": "success", "run_2": "success"}
    assert stage.tally("kept_finished") == {None: 2}


def test_runs_in_the_future_wait(stage):
    assert stage.finding("to_come", "runs_not_due")["count"] == 2
    stage.wait_until(lambda: stage.states("to_come")["run_1", "work"] == "success", "the run that is due ran")
    came = stage.states("to_come")
    assert (came["run_2", "work"], came["run_3", "work"]) == (None, None)


def test_runs_of_a_paused_backfill_wait(stage):
    assert stage.finding("backfilled", "backfill_ended")["count"] == 2
    stage.wait_until(lambda: stage.run_states("backfilled")["run_3"] == "success", "the run outside it ran")
    assert stage.run_states("backfilled") == {"run_1": "queued", "run_2": "queued", "run_3": "success"}
    assert stage.tally("backfilled") == {None: 2, "success": 1}


def test_the_past_keeps_what_depends_on_it_and_all_that_follows(stage):
    finding = stage.finding("stuck_past", "depends_on_past")
    assert finding["count"] == 1
    assert (
        "in `run_2` will not start, nor will anything downstream of it, in this run or later ones"
        in finding["detail"]
    )
    assert stage.tally("stuck_past") == {None: 3}
    for run_id in ("run_2", "run_3", "run_4"):
        assert stage.was_looked_at("stuck_past", run_id)
    assert set(stage.run_states("stuck_past").values()) == {"success", "running"}


def test_a_past_that_becomes_upstream_failed_keeps_what_depends_on_it(stage):
    assert stage.finding("failing_past", "upstream_failed")["count"] == 1
    finding = stage.finding("failing_past", "depends_on_past")
    assert finding["count"] == 1
    assert "so `work` in `run_3` will not start" in finding["detail"]
    assert stage.cleared_states("failing_past") == {
        ("run_1", "work"): "success",
        ("run_2", "work"): "upstream_failed",
        ("run_3", "work"): None,
    }


def test_a_past_that_is_done_keeps_nothing(stage):
    assert "depends_on_past" not in stage.codes("good_past")
    assert stage.tally("good_past") == {"success": 3}


def test_what_is_downstream_in_the_run_before_keeps_it(stage):
    assert stage.finding("stuck_downstream", "wait_for_downstream")["count"] == 1
    assert "depends_on_past" not in stage.codes("stuck_downstream")
    assert stage.was_looked_at("stuck_downstream", "run_2")
    assert stage.cleared_states("stuck_downstream") == {("run_2", "work"): None}


@pytest.mark.parametrize("name", ["ended", "ended_task"])
def test_runs_after_the_end_date_start_all_the_same(stage, name):
    assert stage.finding(name, "after_end_date")["count"] == 2
    assert stage.cleared_states(name) == {(f"run_{day}", "work"): "success" for day in (1, 2, 3)}


def test_a_running_run_times_out_and_a_finished_one_starts_anew(stage):
    finding = stage.finding("timing_out", "dagrun_timeout")
    assert (finding["level"], finding["count"]) == ("warn", 1)
    assert "`dagrun_timeout` will start again for 1 run" in finding["detail"]
    stage.pause("timing_out", paused=False)
    stage.wait_until(lambda: stage.has_ended("timing_out"), "one run has timed out, one has run")
    assert stage.run_states("timing_out") == {"run_1": "failed", "run_2": "success"}
    assert stage.states("timing_out") == {
        ("run_1", "one"): "skipped",
        ("run_1", "two"): "skipped",
        ("run_2", "one"): "success",
        ("run_2", "two"): "success",
    }


def test_where_airflow_cannot_clear_the_plan_is_refused(stage):
    """The installed Airflow clears too: the finding must agree with its clear."""
    before = stage.task_instances("due")["run_1", "work"].id
    body = {"dag_run_id": "run_1", "dry_run": False, "only_failed": False}
    airflows = stage.server.api("POST", "/api/v2/dags/due/clearTaskInstances", json=body)
    refused = [finding for finding in stage.plans["due"]["findings"] if finding["level"] == "refuse"]
    if airflows.status_code == 500:
        assert [(finding["code"], finding["count"]) for finding in refused] == [("deadline_breaks_clear", 1)]
        answer = apply_to_the_end(stage.server, stage.plans["due"])
        assert answer.status_code == 422
        assert [item["what"] for item in answer.json()["missing"]] == ["deadline_breaks_clear"]
        assert stage.task_instances("due")["run_1", "work"].id == before
    else:
        assert (airflows.status_code, refused) == (200, [])
