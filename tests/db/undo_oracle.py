"""What an undo must leave behind, worked out in Python from whole copies of the metadata DB.

The rules are written here a second time, over rows as they were before the clear, right after it, and right
before the undo, without a look at Safe Clear's own tables or code.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.storage.tables import metadata
from tests.support.options import chosen
from tests.support.snapshots import Row, Snapshot, diff_snapshots, snapshot

OWN_TABLES = {table.name for table in metadata.sorted_tables}
COMES_BACK = {
    None,
    "scheduled",
    "success",
    "failed",
    "skipped",
    "upstream_failed",
    "removed",
    "up_for_retry",
    "up_for_reschedule",
}
FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
RUN_COLUMNS_OF_A_CLEAR = (
    "clear_number",
    "queued_at",
    "context_carrier",
    "created_dag_version_id",
    "bundle_version",
)

Key = tuple[str, str, int]


def everything(session: Session) -> Snapshot:
    """Return all rows of Airflow's own tables but the audit log, without the time of a row's last change."""
    session.rollback()
    tables = snapshot(session, exclude_tables=OWN_TABLES | {"log"})
    session.rollback()
    for rows in tables.values():
        for row in rows:
            row.pop("updated_at", None)
    return tables


@dataclass
class Prediction:
    """The database after the undo, and what of the runs comes back."""

    tables: Snapshot
    put_back: int = 0
    stayed: int = 0
    whole: set[str] = field(default_factory=set)
    kept_reschedules: set[int] | None = None
    """The ids of the reschedules that stay, where SQLite has given one that was to come back to another."""

    def differences(self, found: Snapshot) -> dict[str, Any]:
        """Compare a database with this one; a reschedule whose id is taken comes back under any other."""
        if self.kept_reschedules is None:
            return diff_snapshots(self.tables, found)
        rows = [
            row if row["id"] in self.kept_reschedules else {**row, "id": None}
            for row in found["task_reschedule"]
        ]
        return diff_snapshots(self.tables, {**found, "task_reschedule": rows})


def predict(
    before: Snapshot, cleared: Snapshot, now: Snapshot, run_ids: Collection[str], *, reset: bool = True
) -> Prediction:
    """Return what the undo of these runs of the only DAG makes of ``now``.

    ``before`` and ``cleared`` frame the clear; ``reset`` says whether it touched the dag runs.
    """
    result = Prediction(copy.deepcopy(now))
    back: list[Row] = []
    for run_id in run_ids:
        back += _Run(before, cleared, now, run_id, reset).undo(result)
    kept = {row["id"] for row in now["task_reschedule"]}
    if any(row["id"] in kept for row in back):
        result.kept_reschedules = kept
        back = [{**row, "id": None} for row in back]
    result.tables["task_reschedule"] += back
    return result


class _Run:
    def __init__(self, before: Snapshot, cleared: Snapshot, now: Snapshot, run_id: str, reset: bool) -> None:
        self.run_id = run_id
        self.before, self.cleared, self.now = (_of_run(tables, run_id) for tables in (before, cleared, now))
        self.reschedules = before["task_reschedule"]
        self.rescheduled_since = {row["ti_id"] for row in now["task_reschedule"]}
        self.old_history = {row["task_instance_id"] for row in before["task_instance_history"]}
        self.run_before = _run_row(before, run_id)
        self.run_now = _run_row(now, run_id)
        self.deadlines = {row["id"]: row for row in before["deadline"]}
        self.reset = reset
        both = self.before.keys() & self.cleared.keys()
        self.given_new_id = {key for key in both if self.before[key]["id"] != self.cleared[key]["id"]}
        self.moved = {
            key for key in both - self.given_new_id if self.before[key]["state"] != self.cleared[key]["state"]
        }
        self.created = self.cleared.keys() - self.before.keys()

    def comes_back(self, key: Key) -> bool:
        """Whether one task instance has not started since the clear and can be as it was."""
        old, fresh, live = self.before.get(key), self.cleared[key], self.now.get(key)
        if live is None or live["id"] != fresh["id"]:
            return False
        if old is not None and old["state"] not in COMES_BACK:
            return False
        removed = fresh["state"] == "removed" or (old is not None and old["state"] == "removed")
        waits = {None, "scheduled"} | ({"removed"} if removed else set())
        if not chosen.postgresql:
            # Nothing keeps the scheduler from queueing what it has scheduled.
            waits -= {"scheduled"}
            if live["state"] is None and live["try_number"] != (old["try_number"] if old else 0):
                return False
        kept = old if old is not None and key not in self.given_new_id else None
        if live["external_executor_id"] != (kept["external_executor_id"] if kept else None):
            return False
        return (
            live["state"] in waits
            and live["next_method"] is None
            and all(live[name] == (old[name] if old else None) for name in ("start_date", "queued_dttm"))
            and (key not in self.given_new_id or live["id"] not in self.rescheduled_since)
        )

    def is_whole(self) -> bool:
        """Whether the run gets its own state back too."""
        ours = self.given_new_id | self.moved | self.created
        return (
            self.reset
            and self.run_now is not None
            and self.run_now["clear_number"] == self.run_before["clear_number"] + 1
            and self.run_now["state"] in ("queued", "running")
            and all(map(self.comes_back, ours))
            and (
                self.run_before["state"] in ("queued", "running")
                or all(self.rests(key) for key in (self.now.keys() | self.before.keys()) - ours)
            )
        )

    def rests(self, key: Key) -> bool:
        """Whether a task instance that was not cleared is finished for long, or as unfinished as it was."""
        live, old = self.now.get(key), self.before.get(key)
        if all(row is None or row["state"] in FINISHED for row in (live, old)):
            return True
        same = ("id", "state", "try_number")
        return bool(live and old) and all(live[name] == old[name] for name in same)

    def undo(self, result: Prediction) -> list[Row]:
        """Take this run's clear back in the copy of the database; return the reschedules that come back."""
        whole = self.is_whole()
        back = {key for key in self.given_new_id if self.comes_back(key)}
        result.put_back += len(back)
        result.stayed += len(self.given_new_id) - len(back)
        ids = {self.now[key]["id"]: self.before[key]["id"] for key in back}
        fresh_history = set(ids.values()) - self.old_history
        tables = result.tables
        tables["task_instance"] = [self.task_instance(row, back, whole) for row in tables["task_instance"]]
        tables["task_instance"] = [row for row in tables["task_instance"] if row]
        if whole:
            tables["dag_run"] = [self.dag_run(row) for row in tables["dag_run"]]
            tables["deadline"] = [self.deadline(row) for row in tables["deadline"]]
            result.whole.add(self.run_id)
        for name, key in (
            ("task_instance_history", "task_instance_id"),
            ("hitl_detail_history", "ti_history_id"),
        ):
            tables[name] = [row for row in tables[name] if row[key] not in fresh_history]
        for name in ("task_instance_note", "hitl_detail"):
            tables[name] = [{**row, "ti_id": ids.get(row["ti_id"], row["ti_id"])} for row in tables[name]]
        return [row for row in self.reschedules if row["ti_id"] in ids.values()]

    def task_instance(self, row: Row, back: set[Key], whole: bool) -> Row | None:
        """Return one task instance as it is to be, ``None`` for one that goes."""
        key = (row["run_id"], row["task_id"], row["map_index"])
        if row["run_id"] != self.run_id:
            return row
        old = self.before.get(key)
        if key in back or (whole and key in self.moved):
            assert old is not None
            # The trigger may be gone since, and neither clear nor undo has a say in that.
            was = {**old, "trigger_id": row["trigger_id"]}
            run_untouched = (
                self.run_now is not None and self.run_now["clear_number"] == self.run_before["clear_number"]
            )
            if whole or run_untouched or old["dag_version_id"] is not None:
                return was
            return {**was, "dag_version_id": row["dag_version_id"]}
        if whole and key in self.created:
            return None
        unmoved = old and all(row[name] == old[name] for name in ("id", "state", "try_number"))
        if whole and unmoved and old and old["dag_version_id"] is None:
            return {**row, "dag_version_id": None}
        return row

    def dag_run(self, row: Row) -> Row:
        """Return a dag run as it is to be, of a run that comes back."""
        if row["run_id"] != self.run_id:
            return row
        if self.run_before["state"] in ("queued", "running"):
            return {**row, **{name: self.run_before[name] for name in RUN_COLUMNS_OF_A_CLEAR}}
        return self.run_before

    def deadline(self, row: Row) -> Row:
        """Return a deadline as it is to be, of a run that comes back."""
        old = self.deadlines.get(row["id"])
        ours = row["dagrun_id"] == self.run_before["id"]
        return old if ours and old and old["missed"] == row["missed"] else row


def _of_run(tables: Snapshot, run_id: str) -> dict[Key, Row]:
    return {
        (row["run_id"], row["task_id"], row["map_index"]): row
        for row in tables["task_instance"]
        if row["run_id"] == run_id
    }


def _run_row(tables: Snapshot, run_id: str) -> Any:
    return next((row for row in tables["dag_run"] if row["run_id"] == run_id), None)
