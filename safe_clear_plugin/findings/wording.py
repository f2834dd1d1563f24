"""Words for tasks and numbers of runs in the sentences of findings."""

from __future__ import annotations

from collections.abc import Sequence

from safe_clear_plugin.core.formats import count, join_some


def join_tasks(task_ids: Sequence[str]) -> str:
    """Return task ids as code, the first few of them: `` `a`, `b`, `c` and 2 more tasks``."""
    return join_some([f"`{task_id}`" for task_id in task_ids], "task")


def in_runs(number: int) -> str:
    """Return ``in 1 run``, ``in 63 runs``."""
    return f"in {count(number, 'run')}"


def is_or_are(number: int) -> str:
    """Return the verb that goes with a number of things."""
    return "is" if number == 1 else "are"
