"""Which tasks are behind one that ended otherwise than a plan assumes: in success."""

from __future__ import annotations

from collections.abc import Iterator

from tests.outcomes.facts import Facts
from tests.outcomes.shapes import Example, Shape, Task


def behind_surprises(example: Example, facts: Facts) -> dict[str, set[str]]:
    """Return, by run, the tasks of which nothing firm could be said before.

    They are downstream of one that ran and did not succeed, in this run or, where the past matters, in an
    earlier one.
    """
    shapes = (example.before, example.after)
    found: dict[str, set[str]] = {}
    earlier: set[str] = set()
    for run in sorted(example.runs, key=lambda run: run.day):
        ended_badly = {
            key[1]
            for key in facts.after
            if key[0] == run.id and facts.ran(key) and facts.after[key].state != "success"
        }
        behind = {task_id for one in ended_badly for task_id in below(one, shapes)}
        for task in tasks_of(shapes):
            near = {task.id} | (
                _children(task, shapes) if "wait_for_downstream" in dict(task.options) else set()
            )
            if task.waits_for_past and near & earlier:
                behind |= {task.id} | below(task.id, shapes)
        earlier |= behind | ended_badly
        found[run.id] = behind
    return found


def tasks_of(shapes: tuple[Shape, ...]) -> Iterator[Task]:
    """Yield the tasks of the DAG as it was and as it is."""
    for shape in shapes:
        yield from shape.tasks


def _children(task: Task, shapes: tuple[Shape, ...]) -> set[str]:
    return {
        shape.by_name[name].id
        for shape in shapes
        if task.name in shape.by_name
        for name in shape.children(task.name)
    }


def below(task_id: str, shapes: tuple[Shape, ...]) -> set[str]:
    """Return the task ids of all that is downstream in either of them."""
    return {
        one for shape in shapes if task_id in shape.by_id for one in shape.below(shape.by_id[task_id].name)
    }
