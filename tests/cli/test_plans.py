"""``plan``, ``show`` and ``history``: what they print, what they write, and how they exit."""

from __future__ import annotations

import json

import pytest


def plan(safe_clear, day, *more):
    return safe_clear("plan", "cli_etl", "-s", day, "-e", day, *more)


def test_plan_prints_each_task_instance_like_a_diff(safe_clear, new_days):
    [day] = new_days(1)
    done = plan(safe_clear, day)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.code == 0
    assert f"scheduled__{day}T00:00:00+00:00 Failed → Queued" in lines
    assert "~ extract Success cleared whole run Runs" in lines
    assert "~ load Failed cleared whole run Runs" in lines
    assert any(line.startswith("Clear 3 task instances in 1 dag run (") for line in lines)
    assert "Then 3 will run" in lines
    assert any(line.startswith("warning cli_etl is paused") for line in lines)
    assert "To apply it: safe-clear apply " in done.err


def test_plan_exits_with_2_for_changes_when_asked_to(safe_clear, new_days):
    [day] = new_days(1)
    assert plan(safe_clear, day, "--detailed-exitcode").code == 2


def test_plan_takes_the_short_options_of_airflow_tasks_clear(safe_clear, new_days):
    [day] = new_days(1)
    done = safe_clear(*("plan", "cli_etl", "-t", "^load$", "-s", day, "-e", day, "-u", "-d", "-f"), "--json")
    selection = done.json["selection"]
    assert selection["task_regex"] == "^load$"
    assert selection["date_from"] == f"{day}T00:00:00+00:00"
    assert selection["include_upstream"] is True
    assert selection["include_downstream"] is True
    assert selection["state"] == ["failed", "upstream_failed"]


def test_only_running_means_that_running_ones_are_terminated(safe_clear, new_days):
    [day] = new_days(1)
    done = plan(safe_clear, day, "-r", "--json")
    # None is running here: what was asked for is still answered.
    assert done.code == 0
    assert done.json["code"] == "nothing_to_clear"


def test_plan_sends_every_option_of_the_selection(safe_clear, new_days):
    [day] = new_days(1)
    run = f"scheduled__{day}T00:00:00+00:00"
    done = safe_clear(
        *("plan", "cli_etl", "--run-id", run, "--date-field", "run_after", "--timezone", "Europe/Berlin"),
        *("--task-regex", "load|report", "--run-type", "scheduled", "--run-state", "failed"),
        *("--state", "failed", "--state", "upstream_failed", "--include-setups", "--include-downstream"),
        *("--exclude-task-id", "extract", "--exclude-task-instance", "report", "-1", run),
        *("--running", "terminate", "--run-on-latest-version", "--no-reset-dag-runs", "--json"),
    )
    assert done.code == 0, done.err
    given = {
        "dag_id": "cli_etl",
        "task_regex": "load|report",
        "run_id": [run],
        "date_field": "run_after",
        "timezone": "Europe/Berlin",
        "run_type": ["scheduled"],
        "run_state": ["failed"],
        "state": ["failed", "upstream_failed"],
        "include_setups": True,
        "include_downstream": True,
        "exclude_task_id": ["extract"],
        "exclude_task_instance": [["report", -1, run]],
        "running": "terminate",
        "run_on_latest_version": True,
        "reset_dag_runs": False,
    }
    assert {name: done.json["selection"][name] for name in given} == given


def test_plan_takes_tasks_by_their_ids(safe_clear, new_days):
    [day] = new_days(1)
    done = plan(safe_clear, day, "--task-id", "load", "--task-id", "report", "--json")
    assert done.json["selection"]["task_ids"] == ["load", "report"]
    for given in (("",), ("laod",), ("load", "--task-regex", "load")):
        refused = plan(safe_clear, day, "--task-id", *given, "--json")
        assert refused.code not in (0, 2), given
        assert list(refused.json["errors"]) == ["task_ids"]


def test_json_is_what_the_server_answers_unchanged(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    id_ = plan(safe_clear, day, "--json").json["id"]
    for command, path in (("show", f"plans/{id_}.json"), ("status", f"plans/{id_}/progress.json")):
        answer = airflow_server.api("GET", f"/pluginsv2/safe_clear/{path}")
        shown = safe_clear(command, id_, "--json")
        assert shown.code == 0
        if command == "show":
            assert shown.out.rstrip("\n") == answer.text.rstrip("\n")
        else:
            assert {**shown.json, "checked_at": ""} == {**answer.json(), "checked_at": ""}


def test_plan_file_has_what_a_reviewer_needs_and_no_secret(safe_clear, new_days, airflow_server, tmp_path):
    [day] = new_days(1)
    done = plan(safe_clear, day, "-o", "plan.json")
    found = json.loads((tmp_path / "plan.json").read_text())
    assert done.code == 0
    assert (found["schema_version"], found["server"]) == (1, airflow_server.url)
    assert found["counts"]["task_instances"] == 3
    assert found["selection"]["dag_id"] == "cli_etl"
    assert "dag_paused" in [one["code"] for one in found["findings"]]
    assert airflow_server.token("admin") not in (tmp_path / "plan.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_nothing_to_clear_exits_with_0_and_removes_the_old_plan_file(safe_clear, new_days, tmp_path):
    [day] = new_days(1)
    assert plan(safe_clear, day, "-o", "plan.json").code == 0
    done = plan(safe_clear, day, "--state", "skipped", "-o", "plan.json", "--detailed-exitcode")
    assert done.code == 0
    assert "Nothing to clear." in done.out
    assert not (tmp_path / "plan.json").exists()


def test_a_file_that_is_no_plan_is_not_removed(safe_clear, new_days, tmp_path):
    [day] = new_days(1)
    (tmp_path / "notes.json").write_text("{}")
    assert plan(safe_clear, day, "--state", "skipped", "-o", "notes.json").code == 0
    assert (tmp_path / "notes.json").read_text() == "{}"


def test_a_plan_that_may_not_be_applied_exits_with_3(safe_clear):
    done = safe_clear("plan", "cli_locked", "-s", "2026-03-01", "--detailed-exitcode")
    assert done.code == 3
    assert "refused" in done.out
    assert "[protected]" in done.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-t", "(", "-s", "2026-03-01"), "regular expression"),
        (("-t", "", "-s", "2026-03-01"), "This field is empty."),
        (("-t", "^nowhere$", "-s", "2026-03-01"), "nowhere"),
        (("-s", "2026-13-01"), "Enter a date"),
        (("-s", "2026-03-01", "--timezone", "Mars"), "time zone"),
        ((), "You can't clear every run at once"),
        (("-f", "--state", "failed", "-s", "2026-03-01"), "--only-failed sets state"),
        (("--exclude-task-instance", "load", "x", "y", "-s", "2026-03-01"), "is not a map index"),
    ],
    ids=("regex", "empty regex", "no such task", "date", "zone", "no runs", "two states", "map index"),
)
def test_a_wrong_selection_exits_with_1_and_a_remedy(safe_clear, options, said):
    done = safe_clear("plan", "cli_etl", *options)
    assert done.code == 1
    assert said in done.err
    assert done.out == ""


def test_a_selection_that_matches_nothing_is_refused_with_options_that_match(safe_clear, new_days):
    [day] = new_days(1)
    done = safe_clear("plan", "cli_etl", "-t", "^load$", "--map-index", 7, "-s", day, "-e", day)
    assert done.code == 1
    assert "with map index 7" in done.err
    assert "without --map-index" in done.err


def test_a_dag_that_the_caller_may_not_clear_exits_with_1(safe_clear, airflow_server):
    viewer = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("viewer"))
    done = viewer("plan", "cli_etl", "-s", "2026-03-01")
    assert done.code == 1
    assert "can_edit" in done.err


def test_an_error_of_the_server_is_json_too(safe_clear):
    done = safe_clear("plan", "cli_etl", "-t", "(", "-s", "2026-03-01", "--json")
    assert done.code == 1
    assert "task_regex" in done.json["errors"]


def test_rows_limits_what_is_listed(safe_clear, new_days):
    days = new_days(3)
    id_ = safe_clear("plan", "cli_etl", "-s", days[0], "-e", days[-1], "--json").json["id"]
    assert "… and 8 more task instances" in safe_clear("show", id_, "--rows", 1).out
    assert "~" not in safe_clear("show", id_, "--rows", 0).out
    assert safe_clear("show", id_, "--rows", 9).out.count("~") == 9


def test_history_lists_plans_and_filters_them(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    id_ = plan(operator, day, "--json").json["id"]
    listed = safe_clear("history", "--made-by", "operator", "--status", "ready", "--dag-id", "cli_etl")
    assert listed.code == 0
    assert id_ in listed.out
    assert id_ not in safe_clear("history", "--mine").out
    assert "There are no such plans." in safe_clear("history", "--status", "stale", "--dag-id", "nowhere").out
    assert safe_clear("history", "--limit", 1, "--json").json["items"][0]["id"] == id_


def test_a_plan_that_does_not_exist_exits_with_1(safe_clear):
    for name in ("0" * 32, "../../api/v2/dags", "nope"):
        done = safe_clear("show", name)
        assert done.code == 1, name
        assert "Error: " in done.err
