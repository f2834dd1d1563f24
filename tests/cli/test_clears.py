"""``apply``, ``clear``, ``status``, ``stop``, ``resume``, ``ask`` and ``decline``, and how they exit."""

from __future__ import annotations

import signal

import pytest

from tests.cli.airflow_side import CLEARED, FAILED, SUCCEEDED, end_run, run_id_of, set_state, states_of
from tests.cli.proxy import DROP, LOSE_ANSWER, PASS, TIME_OUT
from tests.cli.running import finish


def plan_of(safe_clear, days, *more):
    done = safe_clear("plan", "cli_etl", "-s", days[0], "-e", days[-1], "-o", "plan.json", "--json", *more)
    assert done.code == 0, done.err
    return done.json


@pytest.mark.airflow32
def test_apply_of_a_file_clears_what_the_plan_shows(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    plan_of(safe_clear, [day])
    done = safe_clear("apply", "plan.json", "--yes", "--reason", "late files")
    assert done.code == 0, done.err
    assert "Cleared 3 of 3 task instances in 1 of 1 dag run." in done.out
    assert "To undo it: safe-clear undo " in done.err
    assert states_of(airflow_server, day) == CLEARED


def test_apply_sent_again_clears_nothing_twice_and_exits_with_0(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    id_ = plan_of(safe_clear, [day])["id"]
    for _ in range(2):
        assert safe_clear("apply", id_, "-y").code == 0
    assert len(safe_clear("show", id_, "--json").json["batches"]) == 1


@pytest.mark.airflow32
def test_apply_of_a_stale_plan_exits_with_3_and_clears_nothing(safe_clear, new_days, airflow_server):
    day, other = new_days(2)
    plan_of(safe_clear, [day, other])
    set_state(airflow_server, day, {"load": "success"})
    before = states_of(airflow_server, day)
    done = safe_clear("apply", "plan.json", "-y")
    assert done.code == 3
    assert "changed after the preview" in done.err
    assert f"{run_id_of(day)} load" in done.err
    assert states_of(airflow_server, day) == before
    assert states_of(airflow_server, other) == FAILED
    assert safe_clear("status", "plan.json", "--detailed-exitcode").code == 3


def test_apply_without_a_terminal_needs_yes(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    plan_of(safe_clear, [day])
    for command in (("apply", "plan.json"), ("clear", "cli_etl", "-s", day, "-e", day)):
        done = safe_clear(*command)
        assert done.code == 1
        assert "--yes" in done.err
    assert states_of(airflow_server, day) == FAILED


def test_what_a_plan_requires_is_named_with_its_option(safe_clear, new_days, airflow_server):
    days = new_days(5)
    plan_of(safe_clear, days)
    done = safe_clear("apply", "plan.json", "-y", "--json")
    assert done.code == 3
    assert "(--confirm-dag-id)" in done.err
    assert done.json["missing"][0]["what"] == "confirm_dag_id"
    assert states_of(airflow_server, days[0]) == FAILED
    assert safe_clear("apply", "plan.json", "-y", "--confirm-dag-id", "cli_etl").code == 0
    assert states_of(airflow_server, days[-1]) == CLEARED


def test_clear_does_it_in_one_command(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    done = safe_clear("clear", "cli_etl", "-t", "^load", "-s", day, "-e", day, "-d", "-y")
    assert done.code == 0, done.err
    assert "~ load" in done.out
    assert "Cleared 2 of 2 task instances" in done.out
    assert states_of(airflow_server, day) == {**CLEARED, "extract": "success"}


def test_clear_with_nothing_to_clear_exits_with_0(safe_clear, new_days):
    [day] = new_days(1)
    done = safe_clear("clear", "cli_etl", "-s", day, "-e", day, "--state", "skipped", "-y", "--wait")
    assert done.code == 0
    assert "Nothing to clear." in done.out


@pytest.mark.parametrize(
    ("states", "code"),
    [(SUCCEEDED, 0), ({**SUCCEEDED, "report": "failed"}, 5)],
    ids=("success", "failure"),
)
def test_wait_exits_as_the_re_runs_end(safe_clear, new_days, airflow_server, states, code):
    [day] = new_days(1)
    plan_of(safe_clear, [day])
    process = safe_clear.start("apply", "plan.json", "-y", "--wait", "--wait-timeout", 100)
    airflow_server.wait_until(lambda: states_of(airflow_server, day) == CLEARED, "it is cleared")
    assert process.poll() is None
    set_state(airflow_server, day, states)
    done = finish(process)
    assert done.code == code, done.err
    assert ("Failed: 1 task instance" in done.err) == (code == 5)
    assert safe_clear("status", "plan.json", "--wait").code == code


def test_wait_that_takes_too_long_exits_with_1_and_says_how_to_go_on(safe_clear, new_days):
    [day] = new_days(1)
    plan_of(safe_clear, [day])
    done = safe_clear("apply", "plan.json", "-y", "--wait", "--wait-timeout", 0.1)
    assert done.code == 1
    assert "Airflow goes on with it." in done.err


def test_wait_ends_in_time_while_it_still_clears(safe_clear, new_days):
    days = new_days(2)
    id_ = plan_of(safe_clear, days)["id"]
    done = safe_clear("apply", id_, "-y", "--at-most-runs", 1, "--wait", "--wait-timeout", 4)
    assert done.code == 1
    assert "The clear was not done after 4 s." in done.err
    assert f"safe-clear status {id_} --wait" in done.err
    assert safe_clear("stop", id_).code == 0


def test_status_waits_for_a_clear_that_is_under_way(safe_clear, new_days, airflow_server):
    days = new_days(2)
    id_ = plan_of(safe_clear, days)["id"]
    assert safe_clear("apply", id_, "-y", "--at-most-runs", 1).code == 0
    process = safe_clear.start("status", id_, "--wait", "--wait-timeout", 100)
    for day in days:
        airflow_server.wait_until(lambda day=day: states_of(airflow_server, day) == CLEARED, "it is cleared")
        assert process.poll() is None
        set_state(airflow_server, day, SUCCEEDED)
        end_run(airflow_server, day)
    done = finish(process)
    assert done.code == 0, done
    assert "Ran again: 6 Success" in done.out


def test_status_has_nothing_to_wait_for_and_says_so_with_an_exit_code(safe_clear, new_days):
    [day] = new_days(1)
    id_ = plan_of(safe_clear, [day])["id"]
    done = safe_clear("status", id_, "--wait")
    assert (done.code, f"safe-clear apply {id_}" in done.err) == (1, True)
    assert safe_clear("status", id_, "--wait", "--detailed-exitcode").code == 2


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "one run"])
def test_wait_notices_that_somebody_undoes_the_clear(safe_clear, new_days, airflow_server, whole):
    days = new_days(2)
    id_ = plan_of(safe_clear, days)["id"]
    process = safe_clear.start("apply", id_, "-y", "--wait", "--wait-timeout", 100)
    airflow_server.wait_until(lambda: states_of(airflow_server, days[-1]) == CLEARED, "it is cleared")
    assert process.poll() is None
    assert safe_clear("undo", id_, "-y", *(() if whole else ("--run-id", run_id_of(days[0])))).code == 0
    done = finish(process)
    assert done.code == 5, done
    assert f"undone in {2 if whole else 1} of 2 dag runs" in done.err
    assert "Failed" not in done.err
    again = safe_clear("status", id_, "--wait")
    assert (again.code, "undone" in again.err) == (5, True)


def test_approval_is_asked_for_and_given_by_another_person(safe_clear, new_days, airflow_server):
    days = new_days(11)
    plan_of(safe_clear, days)
    confirmed = ("-y", "--confirm-dag-id", "cli_etl")
    # Missing options come first: until they are given, nobody knows whether only a person is missing.
    lacking = safe_clear("apply", "plan.json", "-y")
    assert lacking.code == 3
    assert "second person" in lacking.err
    assert "(--confirm-dag-id)" in lacking.err
    alone = safe_clear("apply", "plan.json", *confirmed)
    assert alone.code == 4
    assert "second person" in alone.err
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    assert operator("apply", "plan.json", *confirmed).code == 4
    assert safe_clear("ask", "plan.json").code == 3
    assert safe_clear("ask", "plan.json", "--reason", "late files").code == 4
    assert safe_clear("status", "plan.json", "--detailed-exitcode").code == 4
    done = operator("apply", "plan.json", *confirmed)
    assert done.code == 0, done.err
    assert safe_clear("show", "plan.json", "--json").json["approved_by"] == "operator"
    assert states_of(airflow_server, days[-1]) == CLEARED


def test_a_declined_plan_exits_with_3(safe_clear, new_days, airflow_server):
    days = new_days(11)
    plan_of(safe_clear, days)
    assert safe_clear("decline", "plan.json").code == 3
    safe_clear("ask", "plan.json", "--reason", "late files")
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    assert operator("decline", "plan.json", "--reason", "not yet").code == 0
    assert operator("apply", "plan.json", "-y", "--confirm-dag-id", "cli_etl").code == 3
    assert states_of(airflow_server, days[0]) == FAILED


def test_stop_ends_an_apply_with_5_and_resume_goes_on(safe_clear, new_days, airflow_server):
    days = new_days(60)
    plan = plan_of(safe_clear, days)
    safe_clear("ask", "plan.json", "--reason", "late files")
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    process = operator.start("apply", plan["id"], "-y", "--confirm-dag-id", "cli_etl")
    airflow_server.wait_until(lambda: states_of(airflow_server, days[0]) == CLEARED, "it has begun")
    stopped = safe_clear("stop", plan["id"])
    done = finish(process)
    assert (stopped.code, done.code) == (0, 5), done
    assert "Stopped. " in stopped.out
    assert "Stopped by admin." in done.out
    assert states_of(airflow_server, days[-1]) == FAILED
    assert safe_clear("status", plan["id"], "--detailed-exitcode").code == 5
    assert operator("apply", plan["id"], "-y").code == 5
    resumed = safe_clear("resume", plan["id"])
    assert resumed.code == 0, resumed.err
    assert states_of(airflow_server, days[-1]) == CLEARED


def test_resume_of_a_plan_that_nobody_applied_clears_nothing(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    id_ = plan_of(safe_clear, [day])["id"]
    done = safe_clear("resume", id_)
    assert done.code == 3
    assert f"safe-clear apply {id_}" in done.err
    assert states_of(airflow_server, day) == FAILED
    assert safe_clear("status", id_, "--json").json["status"] == "ready"


@pytest.mark.parametrize("failure", [LOSE_ANSWER, TIME_OUT])
def test_resume_sent_again_after_a_lost_answer_goes_past_no_later_stop(
    safe_clear, new_days, airflow_server, make_proxy, failure
):
    days = new_days(2)
    id_ = plan_of(safe_clear, days)["id"]
    assert safe_clear("apply", id_, "-y", "--at-most-runs", 1).code == 0
    assert safe_clear("stop", id_).code == 0

    def lose_first_and_stop(_method, path):
        if not path.endswith("/apply"):
            return PASS
        if proxy.count("POST", "/apply") == 1:
            return failure
        stopped = airflow_server.api(
            "POST", f"/pluginsv2/safe_clear/plans/{id_}/stop", user="operator", json={}
        )
        assert stopped.json()["status"] == "stopped"
        return PASS

    proxy = make_proxy(decide=lose_first_and_stop)
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("resume", id_)
    assert done.code == 5, done
    assert "Stopped by operator" in done.err
    assert safe_clear("status", id_, "--json").json["status"] == "stopped"
    assert safe_clear("resume", id_).code == 0
    assert safe_clear("stop", id_).code == 0


def test_a_clear_goes_on_when_the_command_is_killed(safe_clear, new_days, airflow_server, make_proxy):
    days = new_days(3)
    plan = plan_of(safe_clear, days)
    process = None

    def kill_after_apply(_method, path):
        if path.endswith("/progress.json"):
            process.kill()
        return PASS

    proxy = make_proxy(decide=kill_after_apply)
    process = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url).start("apply", plan["id"], "-y")
    process.communicate(timeout=60)
    cleared = [CLEARED] * 3
    airflow_server.wait_until(lambda: [states_of(airflow_server, day) for day in days] == cleared, "all are")
    assert safe_clear("resume", plan["id"]).code == 0


def test_ctrl_c_says_that_the_clear_goes_on(safe_clear, new_days, make_proxy):
    days = new_days(3)
    plan = plan_of(safe_clear, days)
    process = None

    def interrupt(_method, path):
        if path.endswith("/progress.json"):
            process.send_signal(signal.SIGINT)
        return PASS

    proxy = make_proxy(decide=interrupt)
    process = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url).start("apply", plan["id"], "-y")
    done = finish(process)
    assert done.code == 130
    assert f"To stop it: safe-clear stop {plan['id']}" in done.err


def test_somebody_elses_clear_is_not_applied_again(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    plan = plan_of(safe_clear, [day])
    assert safe_clear("apply", plan["id"], "-y").code == 0
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    for command in (("apply", plan["id"], "-y"), ("resume", plan["id"])):
        done = operator(*command)
        assert done.code == 3
        assert "already applied" in done.err


def test_a_lost_answer_to_apply_is_asked_for_again(safe_clear, new_days, airflow_server, make_proxy):
    days = new_days(2)
    id_ = plan_of(safe_clear, days)["id"]
    proxy = make_proxy(
        decide=lambda _m, p: (
            LOSE_ANSWER if p.endswith("/apply") and proxy.count("POST", "/apply") == 1 else PASS
        )
    )
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("apply", id_, "-y")
    assert done.code == 0, done.err
    assert len(safe_clear("show", id_, "--json").json["batches"]) == 2
    assert [states_of(airflow_server, day) for day in days] == [CLEARED] * 2


def test_a_plan_whose_answer_is_lost_is_not_made_twice(safe_clear, new_days, make_proxy):
    [day] = new_days(1)
    before = safe_clear("history", "--json").json["total"]
    proxy = make_proxy(decide=lambda m, _p: LOSE_ANSWER if m == "POST" else PASS)
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("plan", "cli_etl", "-s", day, "-e", day)
    assert done.code == 1
    assert "Nothing was cleared" in done.err
    assert safe_clear("history", "--json").json["total"] == before + 1


def test_a_canary_waits_for_a_person_and_continue_clears_the_rest(
    safe_clear, new_days, airflow_server, make_proxy
):
    days = new_days(2)
    plan = plan_of(safe_clear, days)
    process = safe_clear.start("apply", "plan.json", "-y", "--first-runs", 1, "--then", "ask", "--wait")
    airflow_server.wait_until(lambda: states_of(airflow_server, days[0]) == CLEARED, "the first is cleared")
    set_state(airflow_server, days[0], SUCCEEDED)
    end_run(airflow_server, days[0])
    done = finish(process)
    assert done.code == 4, done
    assert f"safe-clear continue {plan['id']}" in done.err
    assert states_of(airflow_server, days[1]) == FAILED
    status = safe_clear("status", plan["id"], "--detailed-exitcode")
    assert status.code == 4
    assert "It waits for a person." in status.out
    assert f"safe-clear continue {plan['id']}" in status.err
    # Another person may continue too. After a lost answer the result is found out.
    failures = [DROP, LOSE_ANSWER]
    proxy = make_proxy(decide=lambda _m, p: failures.pop(0) if p.endswith("/continue") else PASS)
    operator = safe_clear.having(
        SAFE_CLEAR_TOKEN=airflow_server.token("operator"), SAFE_CLEAR_SERVER=proxy.url
    )
    lost = operator("continue", plan["id"])
    assert (lost.code, "It still waits for a person" in lost.err) == (1, True)
    assert states_of(airflow_server, days[1]) == FAILED
    gone_on = operator("continue", plan["id"], "--all-at-once", "--reason", "it looks right")
    assert gone_on.code == 0, gone_on.err
    assert states_of(airflow_server, days[1]) == CLEARED
    shown = safe_clear("show", plan["id"], "--json").json
    assert (shown["waves"], shown["batches"][-1]["reason"]) == (None, "it looks right")


def test_a_clear_in_waves_is_left_to_the_server_without_wait(safe_clear, new_days, airflow_server):
    days = new_days(2)
    plan = plan_of(safe_clear, days)
    done = safe_clear("apply", "plan.json", "-y", "--at-most-runs", 1)
    assert done.code == 0, done.err
    assert "It goes on by itself" in done.err
    assert states_of(airflow_server, days[1]) == FAILED
    assert safe_clear("stop", plan["id"]).code == 0


def test_continue_of_a_plan_that_does_not_wait_exits_with_3(safe_clear, new_days):
    [day] = new_days(1)
    id_ = plan_of(safe_clear, [day])["id"]
    done = safe_clear("continue", id_)
    assert done.code == 3, done.err


def test_stop_of_a_plan_that_is_not_under_way_does_nothing(safe_clear, new_days, airflow_server):
    [day] = new_days(1)
    id_ = plan_of(safe_clear, [day])["id"]
    done = safe_clear("stop", id_)
    assert (done.code, "nothing to stop" in done.out) == (0, True)


def test_progress_without_a_terminal_is_a_few_lines(safe_clear, new_days):
    days = new_days(3)
    plan_of(safe_clear, days)
    done = safe_clear("apply", "plan.json", "-y")
    assert "Clearing: 9 of 9" in done.err
    assert "\x1b" not in done.err + done.out
