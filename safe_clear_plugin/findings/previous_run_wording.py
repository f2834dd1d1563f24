"""The words for task instances that wait for an earlier dag run."""

from __future__ import annotations

from collections.abc import Sequence

from safe_clear_plugin.airflow_api.scheduling.depends_on_past import BlockedByPreviousRun
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, join_some, verb


def blocked_by_previous_run(
    code: str, items: Sequence[BlockedByPreviousRun], rule: str, blocker: str, successes: int
) -> Finding | None:
    """Return the finding on what the previous run blocks.

    :param rule: what Airflow waits for
    :param blocker: the task instance that it waits for, as the beginning of a sentence
    :param successes: runs that are Success and will never end because of it
    """
    if not items:
        return None
    total = sum(item.count for item in items)
    first = items[0]
    lost = f" {count(successes, 'run')} {verb(successes, 'is', 'are')} Success now and will never end."
    return Finding(
        code,
        "acknowledge" if successes else "warn",
        f"{count(total, 'task instance')} of {join_some([item.task_id for item in items], 'task')} will wait "
        "for an earlier run that is not in the plan",
        f"{rule} {blocker} in `{first.previous_run_id}` did not succeed, so `{first.task_id}` in "
        f"`{first.run_id}` will not start, nor will anything downstream of it, in this run or later ones."
        f"{lost if successes else ''}",
        total,
        remedy="Include the earlier run, or get its task instances to Success first.",
        filter={"task": first.task_id} if len(items) == 1 else {},
    )
