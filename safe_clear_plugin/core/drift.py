"""Drift: what a plan covers and is no longer as the preview showed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.states import NO_STATE


class DriftCode(Code):
    """How something that a plan covers differs from its preview."""

    DAG_GONE = "dag_gone"
    DAG_CHANGED = "dag_changed"
    """A DAG version was rewritten in place, or is gone."""
    NEW_DAG_VERSION = "new_dag_version"
    NEW_BUNDLE_VERSION = "new_bundle_version"
    DELETED = "deleted"
    CLEARED = "cleared"
    STATE = "state"
    DAG_VERSION = "dag_version"
    BUNDLE_VERSION = "bundle_version"
    DELETED_OR_EXPANDED = "deleted_or_expanded"
    CREATED = "created"
    CLEARED_OR_RETRIED = "cleared_or_retried"


DRIFT_TEXT: Mapping[DriftCode, str] = {
    DriftCode.DAG_GONE: "the Dag no longer has a serialized version",
    DriftCode.DAG_CHANGED: "{dag_id} changed",
    DriftCode.NEW_DAG_VERSION: "{dag_id} changed; {runs:,} of the runs would use the new version",
    DriftCode.NEW_BUNDLE_VERSION: "{dag_id} was parsed from another bundle version",
    DriftCode.DELETED: "the dag run was deleted",
    DriftCode.CLEARED: "cleared since",
    DriftCode.STATE: "its state changed",
    DriftCode.DAG_VERSION: "it moved to another Dag version",
    DriftCode.BUNDLE_VERSION: "its bundle version changed",
    DriftCode.DELETED_OR_EXPANDED: "deleted, or expanded into mapped task instances",
    DriftCode.CREATED: "created since",
    DriftCode.CLEARED_OR_RETRIED: "cleared or retried since",
}

NOT_THERE = "not there"
"""Stands for the state of a task instance that the clear would have made Airflow create."""
GONE = "gone"
"""Stands for the state of a row that was deleted."""
CHANGED_OR_GONE = "changed or gone"
"""Stands for a DAG version that is not the one of the preview."""


@dataclass(frozen=True, slots=True)
class DriftedRow:
    """A row, or a DAG version, that differs from its preview.

    ``before`` and ``now`` are a state, a version, or one of the constants above.
    """

    what: Literal["task_instance", "dag_run", "dag_version"]
    code: DriftCode
    before: str | None
    now: str | None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    dag_id: str = ""
    runs: int = 0
    """How many dag runs a DAG version concerns, where that is counted."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, with its text."""
        return {
            "what": self.what,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "before": self.before,
            "now": self.now,
            "how": DRIFT_TEXT[self.code].format(dag_id=self.dag_id, runs=self.runs),
        }


def try_text(state: str | None, try_number: int | None) -> str:
    """Return the state of a task instance with its try."""
    return f"{state or NO_STATE}, try {try_number}"
