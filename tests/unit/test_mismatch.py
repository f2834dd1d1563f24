"""Comparing the result of a clear with its plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safe_clear_plugin.core.mismatch import mismatches
from safe_clear_plugin.core.plan import StateChange, fingerprint

KEY, OTHER = ("run", "task", -1), ("run", "other", 2)
BEFORE = {
    KEY: {"id": 1, "state": "failed", "max_tries": 0},
    OTHER: {"id": 2, "state": "success", "max_tries": 0},
}
PLANNED = {KEY: {"state": None, "max_tries": 1, "old_id": 1}}
AFTER = {KEY: {"id": 9, "state": None, "max_tries": 1}, OTHER: BEFORE[OTHER]}


def said(found, planned=PLANNED, before=BEFORE):
    return [str(mismatch) for mismatch in mismatches(planned, found, before)]


def test_a_result_as_planned_has_no_mismatch():
    assert said(AFTER) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({**AFTER, KEY: {**AFTER[KEY], "id": 1}}, ["task in run: id was to become a new one, but became 1"]),
        (
            {**AFTER, KEY: {**AFTER[KEY], "state": "x"}},
            ["task in run: state was to become None, but became x"],
        ),
        ({**AFTER, OTHER: {**AFTER[OTHER], "id": 3}}, ["other [2] in run: id was to become 2, but became 3"]),
        ({KEY: AFTER[KEY]}, ["other [2] in run: row was to become there, but became missing"]),
        ({OTHER: AFTER[OTHER]}, ["task in run: row was to become there, but became missing"]),
        (
            {**AFTER, ("run", "new", -1): {"id": 5, "state": None, "max_tries": 0}},
            ["new in run: row was to become absent, but became created"],
        ),
    ],
)
def test_every_difference_is_named(found, expected):
    assert said(found) == expected


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
