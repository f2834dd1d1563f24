"""Why a plan stopped, as it is stored."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.stop_reason import DriftRecord, StopKind, StopReason

ROW = DriftRecord("task_instance", "run_1", "load", -1, "failed", "success", "state")


@pytest.mark.parametrize(
    "reason",
    [
        StopReason(StopKind.STOPPED, by="Ada"),
        StopReason(StopKind.DRIFT, "1 item changed.", "Undo.", moved=(ROW,), total=1),
        StopReason(StopKind.MISMATCH, mismatches=("load in run_1: state",), total=1),
        StopReason(StopKind.ERROR, code="database_full", error_id="0123"),
    ],
    ids=lambda reason: reason.kind,
)
def test_a_reason_comes_back_from_json_as_it_was(reason):
    assert StopReason.from_json(reason.to_json()) == reason


def test_what_a_later_version_stored_can_be_read():
    stored = {"kind": "of_a_later_version", "reason": "Words.", "moved": [{**ROW.to_json(), "more": 1}]}
    found = StopReason.from_json(stored)
    assert (found.kind, found.reason, found.moved) == (StopKind.ERROR, "Words.", (ROW,))
