"""The judge of the live test of outcomes, on what may have come of small examples."""

from __future__ import annotations

import pytest

from tests.outcomes.facts import Facts, Planned, Row
from tests.outcomes.judge import judge
from tests.outcomes.shapes import Example, Run, Shape, Task


def example(**options):
    """``work``, in two runs."""
    shape = Shape((Task("work", "fails", options=tuple(options.items())),))
    return Example("1:1", shape, shape, (Run(1), Run(2)))


def judged(drawn, *states, runs, planned=("runs", None), run_plan="runs"):
    """Return the codes of the faults; each state is that of ``work`` in a run, and whether it ran."""
    keys = [(f"r{day}", "work", -1) for day in (1, 2)]
    facts = Facts(
        before=dict.fromkeys(keys, Row("success", 1)),
        after={key: Row(state, 2 if ran else 1) for key, (state, ran) in zip(keys, states, strict=True)},
        plan=dict.fromkeys(keys, Planned(*planned, effect="clear")),
        runs_before={"r1": "success", "r2": "success"},
        runs_after=dict(zip(("r1", "r2"), runs, strict=True)),
        run_plan=dict.fromkeys(("r1", "r2"), Planned(run_plan)),
    )
    return [fault.code for fault in judge(drawn, facts).faults]


FAILED, WAITS, RAN = ("failed", True), (None, False), ("success", True)


def test_a_run_may_wait_for_one_that_failed_in_the_re_run():
    assert judged(example(depends_on_past=True), FAILED, WAITS, runs=("failed", "running")) == []


@pytest.mark.parametrize(
    ("drawn", "states", "runs"),
    [
        # Nothing waits for the past.
        (example(), (FAILED, WAITS), ("failed", "running")),
        # Nothing failed before.
        (example(depends_on_past=True), (RAN, WAITS), ("success", "running")),
        # What waits for the past has run.
        (example(depends_on_past=True), (FAILED, RAN), ("failed", "running")),
        # The run was never started.
        (example(depends_on_past=True), (FAILED, WAITS), ("failed", "queued")),
    ],
)
def test_no_other_run_may_go_on(drawn, states, runs):
    assert any(code.startswith("run_runs_came_") for code in judged(drawn, *states, runs=runs))


@pytest.mark.parametrize(
    ("others", "effect", "fits"),
    [
        ({0: ("skipped", False)}, "scheduler_creates", True),
        # The task has started: its mapping has been expanded.
        ({0: ("success", True)}, "scheduler_creates", False),
        # Nothing is there to be skipped instead.
        ({}, "scheduler_creates", False),
        # It was there.
        ({0: ("skipped", False)}, "clear", False),
    ],
)
def test_a_map_index_is_added_only_where_its_task_starts(others, effect, fits):
    shape = Shape((Task("first", "branch"), Task("work", mapped=2)), frozenset({("first", "work")}))
    facts = Facts(
        before={("r1", "work", index): Row("success", 1) for index in others},
        after={("r1", "work", index): Row(state, 1 + ran) for index, (state, ran) in others.items()},
        plan={("r1", "work", 1): Planned("unknown", "branch_decides_again", effect)},
        runs_before={"r1": "success"},
        runs_after={"r1": "success"},
        run_plan={"r1": Planned("runs")},
    )
    codes = [fault.code for fault in judge(Example("1:1", shape, shape, (Run(1),)), facts).faults]
    assert ("unknown_came_gone" in codes) != fits


@pytest.mark.parametrize(
    ("options", "state", "beside", "is_known"),
    [
        ({"depends_on_past": True}, "queued", WAITS, True),
        # Nothing waits for the past.
        ({}, "queued", WAITS, False),
        # The run before is over.
        ({"depends_on_past": True}, "failed", WAITS, False),
        # The task has run there.
        ({"depends_on_past": True}, "running", RAN, False),
    ],
)
def test_only_a_run_beside_the_plan_that_is_stuck_holds_up_unforeseen(options, state, beside, is_known):
    shape = Shape((Task("work", options=tuple(options.items())),))
    first, second = ("r1", "work", -1), ("r2", "work", -1)
    facts = Facts(
        before={first: Row(None), second: Row("success", 1)},
        after={first: Row(beside[0], int(beside[1])), second: Row(None, 1)},
        plan={second: Planned("runs", None, "clear")},
        runs_before={"r1": state, "r2": "success"},
        runs_after={"r1": state, "r2": "running"},
        run_plan={"r2": Planned("runs")},
    )
    drawn = Example("1:1", shape, shape, (Run(1, state), Run(2)))
    codes = {fault.code for fault in judge(drawn, facts).faults}
    assert (codes == {"waits_for_a_run_beside"}) == is_known
    assert ("runs_came_none" in codes) != is_known


@pytest.mark.parametrize("decided", [True, False])
def test_what_a_latest_only_is_to_skip_fails_only_if_that_has_not_run(decided):
    shape = Shape((Task("first", "latest"), Task("work")), frozenset({("first", "work")}))
    first, work = ("r1", "first", -1), ("r1", "work", -1)
    facts = Facts(
        before={first: Row("success", 1), work: Row("success", 1)},
        after={first: Row("success", 2) if decided else Row(None, 1), work: Row("upstream_failed", 1)},
        plan={work: Planned("skipped", "latest_only", "clear")},
        runs_before={"r1": "success"},
        runs_after={"r1": "success"},
        run_plan={"r1": Planned("runs")},
    )
    codes = [fault.code for fault in judge(Example("1:1", shape, shape, (Run(1),)), facts).faults]
    assert ("skipped_came_upstream_failed" if decided else "latest_only_never_decides") in codes


@pytest.mark.parametrize(
    "reason", ["either_rule", "branch_or_failed", "upstream_open", "branch_decides_again"]
)
def test_what_is_open_comes_in_one_of_the_ways_that_its_reason_names(reason):
    shape = Shape((Task("first", "branch"), Task("work")), frozenset({("first", "work")}))
    drawn = Example("1:1", shape, shape, (Run(1), Run(2)))
    may_run, may_fail = reason in ("upstream_open", "branch_decides_again"), reason != "branch_decides_again"
    for state, allowed in (
        (RAN, may_run),
        (("upstream_failed", False), may_fail),
        (("skipped", False), True),
    ):
        came = judged(drawn, state, state, runs=("success", "success"), planned=("unknown", reason))
        assert (came == []) == allowed, (reason, state)
    assert judged(drawn, WAITS, WAITS, runs=("success", "success"), planned=("unknown", reason))
