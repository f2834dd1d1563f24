"""Counts of the task instances that a selection would clear, added up from grouped rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import RUNNING_STATES

Taken = Mapping[UUID, Collection[tuple[str, int | None]] | None]
"""By DAG version the tasks that are taken, each with one map index or with ``None`` for all of them.

``None`` in place of the tasks means all task instances of a run.
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of task instances of one task in one state."""

    task_id: str
    state: str
    scopes: frozenset[str]
    """The names of the ranges of dag runs that these belong to."""
    sets: frozenset[str]
    """The names of the sets of tasks that take them."""
    count: int


@dataclass
class Sum:
    """Totals of the task instances to clear and of those to leave out, by state and by task."""

    states: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    """Running ones by task id; they are among ``states`` only when they are terminated."""
    left_out: int = 0

    @property
    def total(self) -> int:
        """Task instances that would be cleared."""
        return sum(self.states.values())


def add_up(tallies: Iterable[Tally], selection: Selection, *, scope: str, tasks: str) -> Sum:
    """Add up the task instances in one range of dag runs that one set of tasks takes."""
    found = Sum()
    for tally in tallies:
        if scope in tally.scopes and tasks in tally.sets:
            add(found, [(tally.task_id, tally.state, tally.count)], selection)
    return found


def add(found: Sum, counts: Iterable[tuple[str, str, int]], selection: Selection) -> None:
    """Add task instances that are taken: task id, state and number."""
    for task_id, state, number in counts:
        running = state in RUNNING_STATES
        if running:
            found.running[task_id] += number
        if running and selection.running == "leave_out":
            found.left_out += number
        else:
            found.states[state] += number
