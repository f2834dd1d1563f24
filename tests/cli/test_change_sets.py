"""Change sets on the command line: several Dags planned, applied, stopped, undone, with one exit code."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import pytest

from tests.cli.airflow_side import CLEARED, FAILED, end_run, run_id_of, set_state, states_of
from tests.cli.prepare import FIRST_DAY, SET_DAYS
from tests.cli.proxy import DROP, LOSE_ANSWER, PASS

BOTH = ("--dag-id", "cli_etl", "--dag-id", "cli_report")
_days = itertools.count(SET_DAYS.start)


@pytest.fixture
def day():
    """Return a day with a failed run in both Dags that no other test uses."""
    return f"{FIRST_DAY + timedelta(days=next(_days)):%Y-%m-%d}"


def plan_set(safe_clear, day, *more):
    return safe_clear("plan-set", *BOTH, "-s", day, "-e", day, *more)


@pytest.fixture
def made(safe_clear, day):
    done = plan_set(safe_clear, day, "--json")
    assert done.code == 0, done.err
    return done.json


@pytest.fixture
def cleared(safe_clear, made):
    done = safe_clear("apply", made["id"], "-y")
    assert done.code == 0, done.err
    return made["id"]


def states(airflow_server, day):
    return [states_of(airflow_server, day, dag_id) for dag_id in ("cli_etl", "cli_report")]


def test_plan_set_prints_a_section_for_each_dag(safe_clear, day):
    done = plan_set(safe_clear, day)
    assert done.code == 0, done.err
    assert "2 Dags  ready until" in done.out
    assert "── 1 of 2: cli_etl ──" in done.out
    assert "── 2 of 2: cli_report ──" in done.out
    assert done.out.count("~ load") == 2
    assert "Together 6 task instances in 2 dag runs of 2 Dags" in done.out
    assert "To apply it: safe-clear apply " in done.err


def test_plan_set_exits_with_2_for_changes_when_asked_to(safe_clear, day):
    assert plan_set(safe_clear, day, "--detailed-exitcode").code == 2


def test_plan_set_takes_a_tag_and_names_what_is_left_out(safe_clear, day):
    done = safe_clear("plan-set", "--tag", "cli", "-s", day, "-e", day)
    assert done.code == 0, done.err
    assert "2 of 2: cli_report" in done.out
    assert "left out  cli_locked:" in done.out


def test_plan_set_needs_something_that_chooses_the_dags(safe_clear, day):
    done = safe_clear("plan-set", "-s", day)
    assert done.code == 1
    assert "Nothing chooses the Dags." in done.err


def test_plan_set_names_each_dag_that_cannot_be_planned(safe_clear, day):
    done = safe_clear("plan-set", *BOTH, "--dag-id", "nowhere", "-s", day, "-e", day)
    assert done.code == 1
    assert "nowhere" in done.err
    assert "Nothing was planned." in done.err


def test_a_protected_dag_keeps_the_set_from_being_applied(safe_clear):
    day = f"{FIRST_DAY:%Y-%m-%d}"
    done = safe_clear("plan-set", "--dag-id", "cli_locked", "--dag-id", "cli_etl", "-s", day, "-e", day)
    assert done.code == 3
    assert "can't be applied" in done.err


def test_apply_clears_all_dags_and_undo_puts_all_back(safe_clear, airflow_server, day):
    made = plan_set(safe_clear, day, "--json").json
    done = safe_clear("apply", made["id"], "-y", "--reason", "late files")
    assert done.code == 0, done.err
    assert "Cleared 6 of 6 task instances in 2 Dags." in done.out
    assert f"safe-clear undo {made['id']}" in done.err
    assert states(airflow_server, day) == [CLEARED, CLEARED]
    shown = safe_clear("show", made["id"])
    assert "applied" in shown.out
    back = safe_clear("undo", made["id"], "-y")
    assert back.code == 0, back.err
    assert "Undone. 6 put back, 0 stayed as they are." in back.out
    assert states(airflow_server, day) == [FAILED, FAILED]
    again = safe_clear("undo", made["id"], "-y")
    assert again.code == 3
    assert "Nothing of this change set is cleared" in again.err


def test_apply_takes_the_file_of_plan_set(safe_clear, airflow_server, day):
    assert plan_set(safe_clear, day, "-o", "set.json").code == 0
    kept = json.loads((safe_clear.folder / "set.json").read_text())
    assert kept["kind"] == "safe-clear change set"
    assert [one["dag_id"] for one in kept["plans"]] == ["cli_etl", "cli_report"]
    done = safe_clear("apply", "set.json", "-y", "--json")
    assert done.code == 0, done.err
    assert (done.json["status"], done.json["done"]) == ("applied", 6)
    assert states(airflow_server, day) == [CLEARED, CLEARED]
    kept["fingerprint"] = "0" * 64
    (safe_clear.folder / "other.json").write_text(json.dumps(kept))
    other = safe_clear("undo", "other.json", "-y")
    assert other.code == 3
    assert "do not mean the same plan" in other.err


def test_a_set_that_changed_is_refused_with_3_and_clears_nothing(safe_clear, airflow_server, day):
    made = plan_set(safe_clear, day, "--json").json
    set_state(airflow_server, day, {"load": "success"}, "cli_report")
    done = safe_clear("apply", made["id"], "-y")
    assert done.code == 3
    assert "cli_report" in done.err
    assert states(airflow_server, day)[0] == FAILED
    assert safe_clear("status", made["id"], "--detailed-exitcode").code == 3


def test_status_says_how_far_each_dag_is(safe_clear, made, cleared):
    done = safe_clear("status", cleared)
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "cli_etl cleared 3 of 3 cleared" in lines
    assert "cli_report cleared 3 of 3 cleared" in lines
    assert safe_clear("status", cleared, "--json").json["done"] == 6
    assert (
        safe_clear("stop", cleared).out.strip() == "The change set is applied, so there was nothing to stop."
    )
    assert safe_clear("resume", cleared).code == 3


def test_undo_of_one_dag(safe_clear, airflow_server, day):
    made = plan_set(safe_clear, day, "--json").json
    assert safe_clear("apply", made["id"], "-y").code == 0
    preview = safe_clear("undo", made["id"], "--dry-run", "--json").json
    assert [(one["dag_id"], one["put_back"]) for one in preview["plans"]] == [
        ("cli_report", 3),
        ("cli_etl", 3),
    ]
    assert states(airflow_server, day) == [CLEARED, CLEARED]
    wrong = safe_clear("undo", made["id"], "-y", "--run-id", run_id_of(day))
    assert wrong.code == 1
    assert "Name the Dag of the change set with --dag-id." in wrong.err
    done = safe_clear("undo", made["id"], "-y", "--dag-id", "cli_etl", "--run-id", run_id_of(day))
    assert done.code == 0, done.err
    assert "3 put back" in done.out
    assert states(airflow_server, day) == [FAILED, CLEARED]
    unknown = safe_clear("undo", made["id"], "-y", "--dag-id", "nowhere")
    assert unknown.code == 1
    assert "Its Dags are: cli_etl, cli_report." in unknown.err


def test_questions_name_the_number_of_dags(safe_clear, made):
    done = safe_clear.in_terminal("apply", made["id"], answers=("yes",))
    assert done.code == 0, done.out
    assert "Clear 6 task instances in 2 Dags?" in done.out


def test_without_a_terminal_and_without_yes_nothing_is_done(safe_clear, airflow_server, made, day):
    assert safe_clear("apply", made["id"]).code == 1
    assert states(airflow_server, day) == [FAILED, FAILED]


def test_a_large_set_needs_its_number(safe_clear):
    days = [f"{FIRST_DAY + timedelta(days=next(_days)):%Y-%m-%d}" for _ in range(3)]
    made = safe_clear("plan-set", *BOTH, "-s", days[0], "-e", days[-1], "--json").json
    lacking = safe_clear("apply", made["id"], "-y")
    assert lacking.code == 3
    assert "(--confirm-task-instances)" in lacking.err
    assert safe_clear("apply", made["id"], "-y", "--confirm-task-instances", 17).code == 3
    assert safe_clear("apply", made["id"], "-y", "--confirm-task-instances", 18).code == 0


def test_a_plan_of_a_set_is_not_applied_alone(safe_clear, airflow_server, made, day):
    done = safe_clear("apply", made["plans"][0]["id"], "-y")
    assert done.code == 3
    assert made["id"] in done.err
    assert states(airflow_server, day) == [FAILED, FAILED]


def test_what_is_neither_plan_nor_set_is_said(safe_clear):
    done = safe_clear("show", "0" * 32)
    assert done.code == 1
    assert "This plan doesn't exist." in done.err


def test_a_lost_answer_to_apply_and_undo_is_found_out(safe_clear, airflow_server, make_proxy, day):
    made = plan_set(safe_clear, day, "--json").json
    lost = []

    def decide(method, path):
        if method == "POST" and path.endswith(("/apply", "/undo")) and path not in lost:
            lost.append(path)
            return LOSE_ANSWER
        return PASS

    proxy = make_proxy(decide=decide)
    through = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)
    assert through("apply", made["id"], "-y").code == 0
    assert states(airflow_server, day) == [CLEARED, CLEARED]
    done = through("undo", made["id"], "-y")
    assert done.code == 0, done.err
    assert proxy.count("POST", "/undo") == 1
    assert states(airflow_server, day) == [FAILED, FAILED]


def test_an_undo_that_did_not_arrive_is_said(safe_clear, airflow_server, make_proxy, made, cleared, day):
    proxy = make_proxy(
        decide=lambda method, path: DROP if method == "POST" and path.endswith("/undo") else PASS
    )
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("undo", cleared, "-y")
    assert done.code == 1
    assert "Nothing is being undone" in done.err


def test_waves_count_over_the_set_and_go_on_when_asked(safe_clear, airflow_server, made, day):
    done = safe_clear("apply", made["id"], "-y", "--first-runs", 1, "--then", "ask")
    assert done.code == 0, done.err
    assert "Cleared 3 of 6 task instances in 2 Dags." in done.out
    assert states(airflow_server, day) == [CLEARED, FAILED]
    too_soon = safe_clear("continue", made["id"])
    assert too_soon.code == 3
    assert "does not wait for a person" in too_soon.err
    set_state(airflow_server, day, dict.fromkeys(CLEARED, "success"))
    end_run(airflow_server, day)
    airflow_server.wait_until(
        lambda: safe_clear("status", made["id"], "--detailed-exitcode").code == 4,
        "the set waits for a person",
    )
    done = safe_clear("continue", made["id"], "--at-most-runs", 2, "--json")
    assert done.code == 0, done.err
    path = f"/pluginsv2/safe_clear/change_sets/{made['id']}.json"
    assert airflow_server.api("GET", path).json()["waves"]["at_most_runs"] == 2
    done = safe_clear("status", made["id"])
    assert "Cleared 6 of 6 task instances." in done.out
    assert states(airflow_server, day)[1] == CLEARED
