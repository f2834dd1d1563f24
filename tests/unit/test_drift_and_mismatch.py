"""Rows that drifted before a clear, and rows that came out of it otherwise than planned."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.drift import DRIFT_TEXT, DriftCode, DriftedRow
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.mismatch import changed_rows
from safe_clear_plugin.core.undo import KEPT_RUN_TEXT, VERDICT_TEXT, KeptRun, Verdict

KEY, OTHER = TaskInstanceKey("run", "task", -1), TaskInstanceKey("run", "other", 2)
BEFORE = {KEY: {"id": 1, "state": "failed"}, OTHER: {"id": 2, "state": "success"}}


def said(found):
    return [str(mismatch) for mismatch in changed_rows(BEFORE, found)]


def test_rows_as_before_have_no_mismatch():
    assert said(BEFORE) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            {**BEFORE, KEY: {"id": 1, "state": "x"}},
            ["task in run: state was to become failed, but became x"],
        ),
        (
            {**BEFORE, OTHER: {**BEFORE[OTHER], "id": 3}},
            ["other [2] in run: id was to become 2, but became 3"],
        ),
        ({KEY: BEFORE[KEY]}, ["other [2] in run: row was to become there, but became missing"]),
        (
            {**BEFORE, TaskInstanceKey("run", "new", -1): {"id": 5, "state": None}},
            ["new in run: row was to become absent, but became created"],
        ),
    ],
)
def test_every_change_of_an_uncleared_row_is_named(found, expected):
    assert said(found) == expected


def test_every_code_has_a_text():
    assert set(DRIFT_TEXT) == set(DriftCode)
    assert set(VERDICT_TEXT) == set(Verdict)
    assert set(KEPT_RUN_TEXT) == set(KeptRun)


def test_drift_of_a_dag_version_counts_its_runs():
    row = DriftedRow(
        "dag_version", DriftCode.NEW_DAG_VERSION, "version 1", "version 2", dag_id="etl", runs=1200
    )
    assert row.to_json() == {
        "what": "dag_version",
        "run_id": None,
        "task_id": None,
        "map_index": None,
        "before": "version 1",
        "before_state": None,
        "before_try": None,
        "now": "version 2",
        "now_state": None,
        "now_try": None,
        "attribute": None,
        "how": "etl changed; 1,200 of the runs would use the new version",
    }
