"""Which task instances wait for an unfinished run that is not in the plan, and does not get on either."""

from __future__ import annotations

from tests.outcomes.facts import Facts, RowKey
from tests.outcomes.shapes import Example
from tests.outcomes.surprises import below, tasks_of

UNFINISHED_RUN = ("queued", "running")


def waits_beside(key: RowKey, example: Example, facts: Facts) -> bool:
    """Whether a task instance has not started, as its task, or one upstream, waits for such a run."""
    shapes = (example.before, example.after)
    waiting = [task.id for task in tasks_of(shapes) if task.waits_for_past]
    return _is_open(key, facts) and any(
        key[1] in {task_id, *below(task_id, shapes)} and _is_stuck(key[0], task_id, example, facts)
        for task_id in waiting
    )


def _is_stuck(run_id: str, task_id: str, example: Example, facts: Facts) -> bool:
    """Whether a task is held up in a run by the run before, or by the one before that."""
    days = {run.day: run.id for run in example.runs}
    (day,) = (run.day for run in example.runs if run.id == run_id)
    earlier = [days[other] for other in sorted(days) if other < day]
    if not earlier or not _is_open((run_id, task_id, -1), facts):
        return False
    before = earlier[-1]
    beside = before not in facts.run_plan and {facts.runs_before[before], facts.runs_after[before]} <= {
        *UNFINISHED_RUN
    }
    if beside:
        return _is_open((before, task_id, -1), facts)
    return before in facts.run_plan and _is_stuck(before, task_id, example, facts)


def _is_open(key: RowKey, facts: Facts) -> bool:
    """Whether it has no state; of a mapped task instance, any map index."""
    rows = [
        row for other, row in facts.after.items() if other == key or (key[2] < 0 and other[:2] == key[:2])
    ]
    return bool(rows) and all(row.state is None for row in rows)
