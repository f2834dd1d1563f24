"""What a selection would take, counted from few rows: how many task instances there are of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import RUNNING_STATES

Taken = Mapping[Hashable, Collection[tuple[str, int | None]] | None]
"""By DAG version the tasks that are taken, each with one map index or with ``None`` for all of them.

``None`` in place of the tasks means whatever a run has.
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many task instances of one task, in one state, the runs of one DAG version have."""

    version: Hashable
    task_id: str
    map_index: int | None
    """One of the map indexes that are asked for, ``None`` for all others together."""
    state: str
    scopes: frozenset[str]
    """The names of the ranges of dag runs that these belong to."""
    count: int


@dataclass
class Sum:
    """What would be cleared and what would be left out, by state and by task."""

    states: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    """Running ones by task id; they are among ``states`` only when they are terminated."""
    left_out: int = 0

    @property
    def total(self) -> int:
        """Task instances that would be cleared."""
        return sum(self.states.values())


def add_up(tallies: Iterable[Tally], taken: Taken, selection: Selection, scope: str) -> Sum:
    """Add up what is taken of the runs in ``scope``, by the rules by which a plan takes it."""
    found = Sum()
    for tally in tallies:
        if scope not in tally.scopes or not _takes(taken, tally) or not _passes(selection, tally):
            continue
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


def _takes(taken: Taken, tally: Tally) -> bool:
    tasks = taken.get(tally.version, ())
    if tasks is None:
        return True
    return (tally.task_id, None) in tasks or (
        tally.map_index is not None and (tally.task_id, tally.map_index) in tasks
    )


def _passes(selection: Selection, tally: Tally) -> bool:
    if selection.state and tally.state not in selection.state:
        return False
    return tally.task_id not in selection.exclude_task_id


def indexes_asked_for(taken: Iterable[Taken]) -> set[int]:
    """Return the single map indexes that any of the answers asks for."""
    pairs: Iterable[Any] = (pair for one in taken for tasks in one.values() if tasks for pair in tasks)
    return {index for _, index in pairs if index is not None}
