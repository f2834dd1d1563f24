"""What a person at a terminal sees and is asked, and what a pipe gets."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.cli.airflow_side import CLEARED, FAILED, states_of
from tests.cli.running import COMMAND, PATIENCE

COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def day(new_days):
    return new_days(1)[0]


def test_a_terminal_has_colors_and_a_pipe_has_none(safe_clear, day):
    command = ("plan", "cli_etl", "-s", day, "-e", day)
    assert COLOR.search(safe_clear.in_terminal(*command).out)
    piped = safe_clear(*command)
    assert "\x1b" not in piped.out + piped.err


def test_no_color_and_dumb_terminals_are_honored(safe_clear, day):
    command = ("plan", "cli_etl", "-s", day, "-e", day)
    assert not COLOR.search(safe_clear.having(NO_COLOR="1").in_terminal(*command).out)
    assert "\x1b" not in safe_clear.having(TERM="dumb").in_terminal(*command).out
    assert "\x1b" not in safe_clear.in_terminal(*command, "--color", "never").out
    assert COLOR.search(safe_clear(*command, "--color", "always").out)


def test_a_person_who_says_yes_clears_and_sees_a_bar(safe_clear, day, airflow_server):
    done = safe_clear.in_terminal("clear", "cli_etl", "-s", day, "-e", day, answers=("yes",))
    shown = STYLES.sub("", done.out)
    assert done.code == 0, shown
    assert "Clear 3 task instances of cli_etl? Type yes:" in shown
    assert "3/3" in shown
    assert states_of(airflow_server, day) == CLEARED


@pytest.mark.parametrize("answer", ["no", "y", ""])
def test_any_other_answer_clears_nothing(safe_clear, day, airflow_server, answer):
    done = safe_clear.in_terminal("clear", "cli_etl", "-s", day, "-e", day, answers=(answer,))
    assert done.code == 1
    assert "Cancelled. Nothing was done." in done.out
    assert states_of(airflow_server, day) == FAILED


def test_a_person_is_not_asked_about_a_plan_that_nobody_can_apply(safe_clear):
    done = safe_clear.in_terminal("clear", "cli_locked", "-s", "2026-03-01")
    assert done.code == 3
    assert "This plan can't be applied." in done.out
    assert "Type yes" not in done.out


def test_a_person_is_asked_for_what_the_plan_requires(safe_clear, new_days, airflow_server):
    days = new_days(5)
    command = ("clear", "cli_etl", "-s", days[0], "-e", days[-1])
    done = safe_clear.in_terminal(*command, answers=("cli_etl", "yes"))
    assert done.code == 0, done.out
    assert "you must type the Dag id" in done.out
    assert states_of(airflow_server, days[0]) == CLEARED


def test_a_password_is_asked_for_and_not_shown(safe_clear):
    asked = safe_clear.having(SAFE_CLEAR_TOKEN=None).in_terminal(
        "history", "--user", "viewer", answers=("viewer",)
    )
    assert asked.code == 0, asked.out
    assert "Password of viewer:" in asked.out
    assert asked.out.count("viewer") == 1


def test_json_stays_json_in_a_terminal(safe_clear, day):
    done = safe_clear.in_terminal("history", "--json", "--limit", 1)
    assert done.out.startswith("{")
    assert "\x1b" not in done.out


def test_a_reader_that_goes_away_ends_it_without_a_traceback(safe_clear):
    done = subprocess.run(
        f"{' '.join(COMMAND)} history | true",
        shell=True,
        cwd=safe_clear.folder,
        env=safe_clear.environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""


def test_a_reader_of_progress_that_goes_away_does_not_stop_a_clear(safe_clear, new_days, airflow_server):
    days = new_days(3)
    command = f"{' '.join(COMMAND)} clear cli_etl -s {days[0]} -e {days[-1]} -y 2> >(true)"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=safe_clear.folder,
        env=safe_clear.environment,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    assert [states_of(airflow_server, one) for one in days] == [CLEARED] * 3
