"""The status of a change set, and the order of its DAGs: pure functions over its plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import permutations

import pytest

from safe_clear_plugin.core.change_set import clearing_order, fingerprint_of, status_of
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.selection import Selection

NOW = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)

PLAN = PlanSummary(
    id="1",
    status=PlanStatus.READY,
    dag_id="etl",
    selection=Selection("etl"),
    run_on_latest_version=False,
    dag_versions=(),
    fingerprint="",
    created_by="1",
    created_by_name="Me",
    created_at=NOW,
    expires_at=LATER,
    task_instances=3,
    dag_runs=1,
)
KINDS = {
    "ready": PLAN,
    "waiting": replace(PLAN, approval_asked_at=NOW),
    "expired": replace(PLAN, expires_at=NOW),
    "declined": replace(PLAN, status=PlanStatus.DECLINED),
    "stale": replace(PLAN, status=PlanStatus.STALE),
    "turn": replace(PLAN, status=PlanStatus.APPLYING),
    "applying": replace(PLAN, status=PlanStatus.APPLYING, cleared_runs=1),
    "interrupted": replace(PLAN, status=PlanStatus.APPLYING, is_interrupted=True),
    "applied": replace(PLAN, status=PlanStatus.APPLIED, cleared_runs=1),
    "stopped": replace(PLAN, status=PlanStatus.STOPPED, cleared_runs=1),
    "not_begun": replace(PLAN, status=PlanStatus.STOPPED),
    "undone": replace(PLAN, status=PlanStatus.UNDONE, cleared_runs=1, undone_runs=1),
}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["ready", "ready"], "ready"),
        (["waiting", "waiting"], "waiting"),
        (["expired", "expired"], "expired"),
        (["expired", "ready"], "expired"),
        (["declined", "declined"], "declined"),
        (["ready", "stale"], "stale"),
        (["expired", "stale"], "stale"),
        (["turn", "turn"], "applying"),
        (["applied", "turn"], "applying"),
        (["applied", "applying", "turn"], "applying"),
        (["applied", "interrupted", "turn"], "interrupted"),
        (["undone", "applying"], "applying"),
        (["applied", "applied"], "applied"),
        (["applied", "stopped", "not_begun"], "stopped"),
        (["not_begun", "not_begun"], "stopped"),
        (["stopped", "applying"], "applying"),
        (["applied", "undone"], "applied"),
        (["stopped", "undone"], "stopped"),
        (["undone", "undone"], "undone"),
        (["undone", "not_begun"], "undone"),
    ],
)
def test_a_set_stands_as_its_plans_do(kinds, expected):
    for order in permutations(kinds):
        assert status_of([KINDS[kind] for kind in order], NOW) == expected


def test_every_combination_has_a_status():
    for one in KINDS.values():
        for other in KINDS.values():
            assert status_of([one, other], NOW)


@pytest.mark.parametrize(
    ("waits_for", "expected"),
    [
        ({}, "a b c d"),
        ({"a": ["d"]}, "b c d a"),
        ({"a": ["b"], "b": ["c"], "c": ["d"]}, "d c b a"),
        ({"b": ["x"], "c": ["c"]}, "a b c d"),
        ({"a": ["b"], "b": ["a"]}, "c d a b"),
        ({"a": ["b"], "b": ["a"], "c": ["a"]}, "d a b c"),
    ],
)
def test_dags_come_by_name_but_after_those_that_they_wait_for(waits_for, expected):
    for dag_ids in permutations("abcd"):
        assert " ".join(clearing_order(dag_ids, waits_for)) == expected


def test_the_fingerprint_counts_each_plan_and_their_order():
    known = {fingerprint_of(order) for order in permutations("abc")}
    assert len(known) == 6
    assert fingerprint_of(["ab", "c"]) != fingerprint_of(["a", "bc"])
    assert len(fingerprint_of([])) == 64
