"""What plans foresee, against what a live scheduler makes of them."""

from __future__ import annotations

from collections import Counter

import pytest

from safe_clear_plugin.core.outcomes import Outcome, RunOutcome
from tests.outcomes.answers import resumed
from tests.outcomes.conftest import EXAMPLES, FULL_EXAMPLES
from tests.outcomes.judge import judge
from tests.outcomes.play import snapshot
from tests.outcomes.report import describe, summary
from tests.outcomes.shapes import DECIDERS

NOT_FORESEEN: dict[str, str] = {
    "removed_came_skipped": "a branch or LatestOnlyOperator skips what is removed, too; neither runs",
    "latest_only_never_decides": "a LatestOnlyOperator that never starts itself does not skip either",
    "unforeseen_skipped_by_a_branch": "a branch skips what was upstream_failed or removed beside the plan",
    "unknown_class_asked": "an operator of a class of one's own that had never asked in the cleared runs",
    "waits_for_a_run_beside": "an unfinished run that is not in the plan never gets to what it waits for",
    "unforeseen_left_open": "a task instance without a state, not in the plan: a run that goes on starts it",
}
"""Codes of faults that are known and not foreseen, with the reason; docs/scheduler.md has them too."""


@pytest.fixture(scope="module")
def verdicts(stage):
    """Return each example with its facts and its verdict, without what is known."""
    dag_ids = [one.example.dag_id for one in stage.played]
    now, jobs = snapshot(dag_ids), resumed(dag_ids)
    judged = []
    for played in stage.played:
        dag_id = played.example.dag_id
        facts = played.facts(*now[dag_id], jobs[dag_id])
        judged.append((played, facts, judge(played.example, facts)))
    return judged


def test_what_comes_is_what_the_plans_foresaw(stage, verdicts, capsys):
    known: Counter[str] = Counter()
    texts = []
    for played, facts, verdict in verdicts:
        known.update(fault.code for fault in verdict.faults if fault.code in NOT_FORESEEN)
        verdict.faults = [fault for fault in verdict.faults if fault.code not in NOT_FORESEEN]
        if verdict.faults:
            texts.append(describe(played, facts, verdict.faults))
    counted = summary([(played.example, verdict) for played, _, verdict in verdicts], stage.refused, known)
    with capsys.disabled():
        print("", counted, f"seconds: {stage.seconds}", *texts, sep="\n")
    assert not texts, f"{len(texts)} of {len(verdicts)} examples came otherwise than foreseen"


def test_nothing_is_unknown_where_no_task_decides(verdicts):
    plain = [
        verdict
        for played, _, verdict in verdicts
        if not any(
            task.kind in DECIDERS for task in (*played.example.before.tasks, *played.example.after.tasks)
        )
    ]
    assert plain or len(verdicts) < EXAMPLES
    assert sum(verdict.outcomes["unknown"] + verdict.run_outcomes["unknown"] for verdict in plain) == 0


def test_nothing_moves_while_a_dag_is_paused(stage):
    assert stage.moved_while_paused == []


def test_every_outcome_is_drawn(verdicts):
    """So that none of them is only ever tried by a test of its own."""
    if len(verdicts) < EXAMPLES:
        pytest.skip("only some examples are played")
    outcomes = sum((verdict.outcomes for _, _, verdict in verdicts), Counter())
    runs = sum((verdict.run_outcomes for _, _, verdict in verdicts), Counter())
    # A run whose end is open is rare: a few examples may have none.
    of_runs = set(RunOutcome) - ({RunOutcome.UNKNOWN} if len(verdicts) < FULL_EXAMPLES else set())
    assert [outcome.value for outcome in Outcome if not outcomes[outcome.value]] == []
    assert sorted(outcome.value for outcome in of_runs if not runs[outcome.value]) == []
