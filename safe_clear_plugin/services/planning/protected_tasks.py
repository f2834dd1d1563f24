"""Protected tasks: patterns of DAG and task that no clear may touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.limits import Protection
from safe_clear_plugin.core.input_limits import shortened
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.storage.findings.task_counts import TouchedTask


@dataclass(frozen=True, slots=True)
class Pattern:
    """``dag_id:task_regex``, as written and as RE2 has compiled its two parts."""

    text: str
    dag: Regex
    task: Regex


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What should be a pattern and is none; neither it nor RE2's reason is shown, as both may name DAGs."""

    text: str


def read(text: str) -> Pattern | Unreadable:
    """Read a pattern; the first colon parts the DAG from the task."""
    dag, colon, task = text.partition(":")
    if not dag or not colon:
        return Unreadable(shortened(text))
    try:
        return Pattern(text, Regex(dag), Regex(task))
    except RegexError:
        return Unreadable(shortened(text))


def find(patterns: Iterable[Pattern], dag_id: str, touched: Sequence[TouchedTask]) -> list[Protection]:
    """Return which patterns match tasks that a plan touches: the whole DAG id, any part of the task id.

    A pattern is named with this DAG's id, since its own regex may name others.
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
