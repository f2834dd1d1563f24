"""What becomes of cleared task instances for what lies around them in their runs."""

from __future__ import annotations

from collections import Counter


def test_exactly_those_that_are_listed_become_upstream_failed(stage):
    finding = stage.finding("failed_upstream", "upstream_failed")
    assert finding["count"] == 8
    listed = stage.keys_behind("failed_upstream", "upstream_failed")
    came = stage.cleared_states("failed_upstream")
    assert {key for key, state in came.items() if state == "upstream_failed"} == listed
    # By their trigger rules: publish, after load, and none_failed; all_done and one_failed run.
    assert {task_id for _, task_id in listed} == {"load", "publish", "lenient", "total"}
    assert {key[0] for key in listed} == {"run_1", "run_2"}
    for run_id in ("run_1", "run_2"):
        assert (came[run_id, "whatever"], came[run_id, "alarm"]) == ("success", "success")


def test_without_a_failure_the_rule_that_waits_for_one_skips(stage):
    finding = stage.finding("failed_upstream", "upstream_skipped")
    assert finding["count"] == 1
    came = stage.cleared_states("failed_upstream")
    assert {key for key, state in came.items() if state == "skipped"} == {("run_3", "alarm")}
    assert stage.keys_behind("failed_upstream", "upstream_skipped") == {("run_3", "alarm")}
    assert stage.tally("failed_upstream") == {"upstream_failed": 8, "skipped": 1, "success": 9}


def test_exactly_those_that_are_listed_are_skipped(stage):
    finding = stage.finding("skipped_upstream", "upstream_skipped")
    assert finding["count"] == 2
    came = stage.cleared_states("skipped_upstream")
    listed = stage.keys_behind("skipped_upstream", "upstream_skipped")
    assert {key for key, state in came.items() if state == "skipped"} == listed
    assert listed == {("run_1", "below"), ("run_1", "further")}
    assert stage.tally("skipped_upstream") == {"skipped": 2, "success": 4}


def test_what_is_downstream_and_not_included_stays(stage):
    stale = stage.keys_behind("in_part", "stale_downstream")
    stays = stage.keys_behind("in_part", "downstream_stays")
    assert (len(stale), len(stays)) == (2, 2)
    before, now = stage.before["in_part"], stage.task_instances("in_part")
    assert {now[key].state for key in stale} == {"success"}
    assert {now[key].state for key in stays} == {"upstream_failed"}
    assert {key for key in now if now[key].id == before[key].id} == now.keys() - stage.cleared("in_part")
    assert stage.tally("in_part") == {"success": 2}
    # A run with something that is upstream_failed may fail again although all that was cleared succeeded.
    assert set(stage.run_states("in_part").values()) == {"failed"}


def test_behind_something_unfinished_it_waits(stage):
    finding = stage.finding("unfinished_upstream", "upstream_unfinished")
    assert finding["count"] == 1
    assert stage.was_looked_at("unfinished_upstream", "run_1")
    assert stage.states("unfinished_upstream") == {("run_1", "gate"): "scheduled", ("run_1", "load"): None}


def test_tasks_that_are_no_longer_in_the_dag_become_removed(stage):
    finding = stage.finding("changed", "not_in_dag")
    assert finding["count"] == 2
    came = stage.cleared_states("changed")
    removed = {key for key, state in came.items() if state == "removed"}
    assert removed == {("run_1", "old_report"), ("run_2", "old_report")}
    assert stage.tally("changed") == {"removed": 2, "success": 2}


def test_runs_that_move_to_the_latest_version_get_its_tasks(stage):
    finding = stage.finding("moved", "moves_to_latest")
    assert "2 created" in finding["title"]
    came = stage.states("moved")
    assert Counter((key[1], state) for key, state in came.items()) == {
        ("kept", "success"): 2,
        ("new_report", "success"): 2,
        ("old_report", "removed"): 2,
    }
