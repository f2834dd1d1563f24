"""Protected tasks: patterns of DAG and task that no clear may touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.limits import Protection
from safe_clear_plugin.core.input_limits import shortened
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.storage.touched import TouchedTask


@dataclass(frozen=True, slots=True)
class Pattern:
    """``dag_id:task_regex``, as written and as RE2 has compiled its two parts."""

    text: str
    dag: Regex
    task: Regex


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What should be a pattern, and why it is none."""

    text: str
    why: str


def read(text: str) -> Pattern | Unreadable:
    """Read a pattern; the first colon parts the DAG from the task."""
    dag, colon, task = text.partition(":")
    if not dag or not colon:
        return Unreadable(shortened(text), "it is not dag_id:task_regex")
    try:
        return Pattern(text, Regex(dag), Regex(task))
    except RegexError as error:
        return Unreadable(shortened(text), error.reason.rstrip("."))


def find(patterns: Iterable[Pattern], dag_id: str, touched: Sequence[TouchedTask]) -> list[Protection]:
    """Return which patterns match tasks that a plan touches: the whole DAG id, any part of the task id."""
    found = []
    for pattern in patterns:
        if not pattern.dag.fullmatch(dag_id):
            continue
        if tasks := [task for task in touched if pattern.task.search(task.task_id)]:
            found.append(Protection(pattern.text, tuple((task.task_id, task.changed) for task in tasks)))
    return found
