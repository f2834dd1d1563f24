"""Comparing what was foreseen with what came."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.foreseen import Came, OutcomeNow, compare, compare_all, describe
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.states import TASK_INSTANCE_STATES

STATES = (None, *TASK_INSTANCE_STATES, "missing")


@pytest.mark.parametrize(
    ("outcome", "state", "run_is_over", "came"),
    [
        ("runs", "success", False, "as_foreseen"),
        ("runs", "upstream_failed", True, "as_foreseen"),
        ("runs", "running", False, "open"),
        ("runs", None, False, "open"),
        ("runs", None, True, "otherwise"),
        ("runs", "removed", False, "otherwise"),
        ("runs", "missing", True, "otherwise"),
        ("skipped", "skipped", False, "as_foreseen"),
        ("skipped", "running", False, "otherwise"),
        ("skipped", "success", False, "otherwise"),
        ("skipped", "scheduled", False, "open"),
        # A decision skips it even then.
        ("skipped", "upstream_failed", False, "open"),
        ("skipped", "upstream_failed", True, "otherwise"),
        ("upstream_failed", "upstream_failed", True, "as_foreseen"),
        ("upstream_failed", "skipped", True, "otherwise"),
        ("removed", "removed", False, "as_foreseen"),
        ("removed", "success", False, "otherwise"),
        ("never_starts", None, True, "as_foreseen"),
        ("never_starts", "scheduled", False, "open"),
        ("never_starts", "running", False, "otherwise"),
        ("waits", "awaiting_input", False, "open"),
        ("waits", "success", True, "as_foreseen"),
        ("unknown", "success", True, "not_known"),
        (None, "success", True, "not_known"),
    ],
)
def test_an_outcome_is_compared_with_the_state_now(outcome, state, run_is_over, came):
    assert compare(OutcomeNow(outcome, state, run_is_over, 1)) == came


@pytest.mark.parametrize("outcome", [None, *Outcome])
@pytest.mark.parametrize("state", STATES)
def test_nothing_is_open_once_the_run_is_over(outcome, state):
    assert compare(OutcomeNow(outcome, state, True, 1)) != Came.OPEN


def test_differences_are_named_with_their_numbers():
    comparison = compare_all(
        [
            OutcomeNow("runs", "success", True, 5),
            OutcomeNow("skipped", "success", True, 2),
            OutcomeNow("runs", "missing", True, 3),
        ]
    )
    assert comparison.differences == [("runs", "missing", 3), ("skipped", "success", 2)]
    assert describe(comparison) == (
        "5 task instances came out differently from the plan: 3 foreseen as Runs, now not there, 2 foreseen "
        "as Skipped, now Success"
    )


def test_all_came_as_foreseen_only_once_nothing_is_open():
    over = OutcomeNow("runs", "success", True, 5)
    assert describe(compare_all([over])) == "All came as foreseen"
    assert describe(compare_all([over, OutcomeNow("runs", "running", False, 1)])) == ""
    assert describe(compare_all([OutcomeNow(None, "success", True, 1)])) == ""
