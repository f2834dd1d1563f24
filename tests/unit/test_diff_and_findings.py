"""Comparing a result with its plan, and what a plan causes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from safe_clear_plugin.core.findings import (
    Facts,
    Finding,
    LimitFacts,
    Link,
    RunningFacts,
    StartingFacts,
    VersionFacts,
    find,
)
from safe_clear_plugin.core.plan import StateChange, fingerprint

NOTHING = Facts(
    limits=LimitFacts(),
    running=RunningFacts(),
    starting=StartingFacts(dag_id="etl"),
    versions=VersionFacts(latest_version=3),
)


def with_facts(area, **values):
    return replace(NOTHING, **{area: replace(getattr(NOTHING, area), **values)})


def test_nothing_to_say():
    assert list(find(NOTHING)) == []


@pytest.mark.parametrize(
    ("area", "facts", "code", "count"),
    [
        ("running", {"terminated": 2}, "running_terminated", 2),
        ("running", {"left_out": 1}, "running_left_out", 1),
        ("running", {"pending": 4}, "pending_cleared", 4),
        ("running", {"not_undoable": 3}, "not_undoable", 3),
        ("starting", {"dag_is_paused": True, "runs_to_queue": 5}, "dag_paused", 5),
        ("starting", {"dag_is_stale": True, "runs_to_queue": 5}, "dag_stale", 5),
        ("versions", {"created": 2, "removed": 1}, "moves_to_latest", 3),
        ("versions", {"unexpanded": 1}, "unexpanded_relatives", 1),
    ],
)
def test_each_finding_has_its_cause(area, facts, code, count):
    [finding] = find(with_facts(area, **facts))
    assert (finding.code, finding.count) == (code, count)
    assert finding.title
    assert finding.detail


def test_a_move_names_what_it_does():
    [finding] = find(with_facts("versions", created=2, removed=1))
    assert finding.title == "3 more task instances change with the DAG version: 2 created, 1 marked removed"
    assert "version 3" in finding.detail


def test_a_finding_survives_being_stored():
    finding = Finding(
        "x",
        "warn",
        "t",
        "d",
        2,
        widen=("include_downstream",),
        filter={"task": "a"},
        links=(Link("dag", "b"),),
    )
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_a_fingerprint_depends_on_every_value_and_the_order():
    head, changes = ("plan", "etl", None), [StateChange("failed", None, "clear", 3)]
    others = [
        fingerprint(head[::-1], changes),
        fingerprint(head[:2], changes),
        fingerprint(("plan", "etl", ""), changes),
        fingerprint(("planetl", "", None), changes),
        fingerprint(head, [replace(changes[0], count=4)]),
        fingerprint(head, [replace(changes[0], before=None)]),
        fingerprint(head),
    ]
    assert fingerprint(head, changes) == fingerprint(iter(head), tuple(changes))
    assert len({fingerprint(head, changes), *others}) == 8
