"""Mismatches: rows that differ from the plan after a clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.keys import TaskInstanceKey


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that differs from the plan after the clear."""

    row: str
    column: str
    planned: str
    found: str

    def __str__(self) -> str:
        return f"{self.row}: {self.column} was to become {self.planned}, but became {self.found}"


Row = Mapping[str, Any]


def missing(row: str) -> Mismatch:
    """Return the mismatch of a row that is gone after the clear."""
    return Mismatch(row, "row", "there", "missing")


def task_instance_name(key: TaskInstanceKey) -> str:
    """Return how mismatches name a task instance."""
    mapped = "" if key.map_index < 0 else f" [{key.map_index}]"
    return f"{key.task_id}{mapped} in {key.run_id}"


def changed_rows(
    before: Mapping[TaskInstanceKey, Row], found: Mapping[TaskInstanceKey, Row]
) -> Iterator[Mismatch]:
    """Yield how task instances that the plan does not cover differ from what they were before the clear."""
    for key in sorted(before.keys() | found.keys()):
        name, row = task_instance_name(key), found.get(key)
        if row is None:
            yield missing(name)
        elif key not in before:
            yield Mismatch(name, "row", "absent", "created")
        else:
            for column, value in before[key].items():
                if row[column] != value:
                    yield Mismatch(name, column, str(value), str(row[column]))
