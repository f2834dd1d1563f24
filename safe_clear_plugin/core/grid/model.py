"""The grid of a plan as plain values: tasks down, dag runs or spans of time across."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Literal

from safe_clear_plugin.core.states import NO_STATE

Level = Literal["run", "hour", "day", "week", "month", "year"]


KINDS = (
    "clear",
    "terminate",
    "create",
    "restore",
    "remove",
    "leave_out",
    "comes_back",
    "cleared",
    "put_back",
    "stale",
    "untouched",
)
"""The kinds of parts of a cell, in the order in which a cell shows them. First come the effects of a plan.
Then come the task instances that an undo would put back now, that the plan cleared, that an undo put back,
that go stale, and that do not change."""

CHANGED_KINDS = ("clear", "terminate", "create", "restore", "remove", "comes_back", "cleared")

WORST_FIRST = (
    "failed",
    "upstream_failed",
    "up_for_retry",
    "restarting",
    "running",
    "up_for_reschedule",
    "deferred",
    "awaiting_input",
    "queued",
    "scheduled",
    NO_STATE,
    "removed",
    "skipped",
    "success",
)


@dataclass(frozen=True, slots=True)
class Node:
    """A task, or a task group, in the order of the DAG; ``path`` are the groups that it lies in."""

    id: str
    label: str
    path: tuple[str, ...] = ()
    group: bool = False
    mapped: bool = False
    role: str = ""
    """``setup`` or ``teardown``."""


@dataclass(frozen=True, slots=True)
class Column:
    """A dag run, or the runs of a span of time from ``start`` to before ``end``."""

    key: object
    start: datetime
    end: datetime | None = None
    run_id: str | None = None
    dated: bool = True
    """Whether a run goes by its logical date; else by when it was due."""
    runs: int = 1
    planned: bool = True
    """Whether it belongs to the plan, and not to a neighbouring run outside it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Task instances of a cell that share what happens to them."""

    kind: str
    state: str | None
    after: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its parts, those that change first, and within them the worst states first."""

    segments: tuple[Segment, ...]
    why: str = ""

    @property
    def count(self) -> int:
        """The number of task instances, or runs, that it stands for."""
        return sum(segment.count for segment in self.segments)

    @property
    def changed(self) -> int:
        """The number of them that the plan changes."""
        return sum(segment.count for segment in self.segments if segment.kind in CHANGED_KINDS)

    def of(self, kind: str) -> int:
        """Return the number of them of a kind."""
        return sum(segment.count for segment in self.segments if segment.kind == kind)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the grid: a task with its cells, the head of a group, or a fold of untouched tasks."""

    kind: Literal["task", "group", "fold"]
    node: Node
    depth: int
    cells: Mapping[object, Cell] = field(default_factory=dict)
    tasks: int = 0
    """Tasks that a folded row stands for."""
    open: bool = True

    @property
    def changed(self) -> int:
        """Task instances of the line that the plan changes."""
        return sum(cell.changed for cell in self.cells.values())

    def of(self, kind: str) -> int:
        """Task instances of the line of a kind."""
        return sum(cell.of(kind) for cell in self.cells.values())

    @property
    def in_plan(self) -> int:
        """Task instances of the line in the plan, those left out included."""
        return self.changed + self.of("leave_out")


def _rank(segment: Segment) -> tuple[int, int, str]:
    state = segment.state or NO_STATE
    worst = WORST_FIRST.index(state) if state in WORST_FIRST else len(WORST_FIRST)
    return KINDS.index(segment.kind), worst, segment.after or ""


def cell(segments: Iterable[Segment], why: str = "") -> Cell:
    """Return a cell with like parts added up, in order."""
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    for one in segments:
        counts[one.kind, one.state, one.after] += one.count
    merged = (Segment(kind, state, after, count) for (kind, state, after), count in counts.items() if count)
    return Cell(tuple(sorted(merged, key=_rank)), why)


def spans(columns: Sequence[Column], key: Mapping[object, str]) -> list[tuple[str, list[Column]]]:
    """Gather neighbouring columns that share a head, such as the day of several runs."""
    return [(head, list(group)) for head, group in groupby(columns, key=lambda one: key[one.key])]
