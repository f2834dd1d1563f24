"""Drift: rows and DAG versions of a plan that have changed since the preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.states import NO_STATE, state_name


class DriftCode(Code):
    """A kind of difference between the database and the preview."""

    DAG_GONE = "dag_gone"
    DAG_CHANGED = "dag_changed"
    """A DAG version was rewritten in place, or is gone."""
    NEW_DAG_VERSION = "new_dag_version"
    NEW_BUNDLE_VERSION = "new_bundle_version"
    TASK_ADDED = "task_added"
    TASK_GONE = "task_gone"
    TASK_ATTRIBUTE = "task_attribute"
    """The new version of the DAG, or the rewritten one, has another value for an attribute of a task."""
    DAG_ATTRIBUTE = "dag_attribute"
    SCHEDULER_CHANGES = "scheduler_changes"
    """Because of the new version, the scheduler would change task instances that it had left alone."""
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
    DriftCode.TASK_ADDED: "the task was added",
    DriftCode.TASK_GONE: "the task was removed",
    DriftCode.TASK_ATTRIBUTE: "{attribute} of the task changed",
    DriftCode.DAG_ATTRIBUTE: "{attribute} of the Dag changed",
    DriftCode.SCHEDULER_CHANGES: "the scheduler would now {now} it in {runs:,} of the runs",
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
class StateThen:
    """The state of a dag run or task instance at one time, and the try of a task instance."""

    state: str | None
    try_number: int | None = None

    def __str__(self) -> str:
        if self.try_number is None:
            return self.state or NO_STATE
        return f"{self.state or NO_STATE}, try {self.try_number}"


@dataclass(frozen=True, slots=True)
class DriftedRow:
    """A row, or a DAG version, that differs from its preview.

    ``before`` and ``now`` are a state, the text of a version, or one of the constants above.
    """

    what: Literal["task_instance", "dag_run", "dag_version"]
    code: DriftCode
    before: StateThen | str
    now: StateThen | str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    dag_id: str = ""
    runs: int = 0
    """The number of dag runs that a DAG version concerns, where that is counted."""
    attribute: str | None = None
    """In which two DAG versions differ, of the task or, without one, of the DAG."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, with its text."""
        values = {"dag_id": self.dag_id, "runs": self.runs, "attribute": self.attribute, "now": self.now}
        return {
            "what": self.what,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            **_side("before", self.before),
            **_side("now", self.now),
            "attribute": self.attribute,
            "how": DRIFT_TEXT[self.code].format(**values),
        }


def _side(name: str, side: StateThen | str) -> dict[str, Any]:
    then = side if isinstance(side, StateThen) else None
    return {
        name: str(side),
        f"{name}_state": then and (then.state or NO_STATE),
        f"{name}_try": then and then.try_number,
    }


def side_text(text: str | None, state: str | None, try_number: int | None) -> str:
    """Return one side of a row in words: ``Failed, try 2``; the text as it is if there is no state."""
    if state is None:
        return text or ""
    return state_name(state) if try_number is None else f"{state_name(state)}, try {try_number}"
