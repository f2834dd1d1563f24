"""The key of a task instance within its DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class TaskInstanceKey(NamedTuple):
    """One task instance of a DAG; ``map_index`` is ``-1`` where the task is not mapped."""

    run_id: str
    task_id: str
    map_index: int

    def to_json(self) -> list[Any]:
        """Return the key as requests and stored selections write it: ``[task_id, map_index, run_id]``."""
        return [self.task_id, self.map_index, self.run_id]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> TaskInstanceKey:
        """Return the key that :meth:`to_json` wrote."""
        task_id, map_index, run_id = values
        return cls(run_id, task_id, map_index)
