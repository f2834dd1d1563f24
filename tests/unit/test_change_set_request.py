"""The request that ``plan-set`` sends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from safe_clear_plugin.cli.change_set_request import change_set_request
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.parser import build_parser
from safe_clear_plugin.cli.screen import Screen


def asked(*options: str):
    given = build_parser().parse_args(["plan-set", *options])
    return change_set_request(Context(given, Screen(), SimpleNamespace(server="http://here")))


def test_the_dags_that_wait_for_a_plan_are_asked_for_with_what_is_said_of_their_sensors():
    plan = "0f" * 16
    address = f"/plans/{plan}/waiting_dags"
    assert asked("--waiting-for", plan) == (address, {"deltas": []})
    found = asked("--waiting-for", plan, "--delta", "report:wait=3600", "--delta", "report:group.wait=-60")
    assert found == (address, {"deltas": [["report", "wait", 3600], ["report", "group.wait", -60]]})
    found = asked("--waiting-for", plan, "--delta", "report:wait=1h 30m", "--without", "other")
    assert found == (address, {"deltas": [["report", "wait", 5400]], "without": ["other"]})
    assert asked("--dag-id", "etl") == ("/change_sets", {"dag_ids": ["etl"]})


@pytest.mark.parametrize("delta", ["", "report", "report:wait", "report:wait=", "report:wait=1x", "wait=60"])
def test_a_delta_that_makes_no_sense_is_refused(delta):
    with pytest.raises(CommandError, match="Can't read --delta"):
        asked("--waiting-for", "0f" * 16, "--delta", delta)


@pytest.mark.parametrize(
    "options",
    [
        ("--waiting-for", "0f" * 16, "--dag-id", "etl"),
        ("--waiting-for", "0f" * 16, "-s", "2026-11-18"),
        ("--waiting-for", "0f" * 16, "-f"),
        ("--dag-id", "etl", "--delta", "report:wait=0"),
        ("--dag-id", "etl", "--without", "other"),
        ("--waiting-for", ""),
    ],
)
def test_options_that_would_be_ignored_are_refused(options):
    with pytest.raises(CommandError):
        asked(*options)
