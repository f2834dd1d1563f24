"""Comparing rows: what moved since the preview, and whether the result is what the plan said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from safe_clear_plugin.core.keys import TaskInstanceKey


@dataclass(frozen=True, slots=True)
class Moved:
    """Something that the plan covers and that is no longer as it was shown."""

    what: str
    """``task_instance``, ``dag_run`` or ``dag_version``"""
    run_id: str | None
    task_id: str | None
    map_index: int | None
    before: str
    now: str
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that came out of the clear otherwise than the plan said."""

    row: str
    column: str
    planned: str
    found: str

    def __str__(self) -> str:
        return f"{self.row}: {self.column} was to become {self.planned}, but became {self.found}"


Row = Mapping[str, Any]


def mismatches(
    planned: Mapping[TaskInstanceKey, Row],
    found: Mapping[TaskInstanceKey, Row],
    before: Mapping[TaskInstanceKey, Row],
) -> Iterator[Mismatch]:
    """Compare the task instances of whole dag runs with the plan after a clear.

    ``planned`` holds the columns that each row is to have, ``found`` all rows of those runs after the clear,
    and ``before`` those that are not planned before it: they must be as they were. A planned row with an
    ``old_id`` must carry another.
    """
    for key in sorted(planned.keys() | found.keys() | before.keys()):
        name = f"{key[1]}{'' if key[2] < 0 else f' [{key[2]}]'} in {key[0]}"
        row = found.get(key)
        if row is None:
            yield Mismatch(name, "row", "there", "missing")
            continue
        want = planned.get(key)
        if want is None:
            want = before.get(key)
            if want is None:
                yield Mismatch(name, "row", "absent", "created")
                continue
        for column, value in want.items():
            if column == "old_id":
                if value and row["id"] == value:
                    yield Mismatch(name, "id", "a new one", str(row["id"]))
            elif row[column] != value:
                yield Mismatch(name, column, str(value), str(row[column]))
