"""Protected tasks: patterns of DAG and task that no clear can touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.input_limits import shortened
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.core.regex import Regex, RegexError


@dataclass(frozen=True, slots=True)
class Protection:
    """A pattern, and the tasks of the plan that it matches, each with its number of task instances."""

    pattern: str
    tasks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """``dag_id:task_regex``, as written, with its two parts compiled by RE2."""

    text: str
    dag: Regex
    task: Regex


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Text that is not a pattern. No page shows it, nor RE2's reason: both may name DAGs."""

    text: str


def read_pattern(text: str) -> Pattern | Unreadable:
    """Read a pattern; the first colon separates the DAG from the task."""
    dag, colon, task = text.partition(":")
    if not dag or not colon:
        return Unreadable(shortened(text))
    try:
        return Pattern(text, Regex(dag), Regex(task))
    except RegexError:
        return Unreadable(shortened(text))


def match_protected(
    patterns: Iterable[Pattern], dag_id: str, touched: Sequence[TouchedTask]
) -> list[Protection]:
    """Return the patterns that match the whole DAG id and any part of the id of a task that a plan touches.

    They name this DAG's id, since their own regex may name other DAGs.
    """
    found = []
    for pattern in patterns:
        if not pattern.dag.fullmatch(dag_id):
            continue
        if tasks := [task for task in touched if pattern.task.search(task.task_id)]:
            task_regex = pattern.text.partition(":")[2]
            touched_tasks = tuple((task.task_id, task.changed) for task in tasks)
            found.append(Protection(f"{dag_id}:{task_regex}", touched_tasks))
    return found
