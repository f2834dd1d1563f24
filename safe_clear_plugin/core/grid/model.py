"""The grid of a plan as plain values: tasks down, dag runs or spans of time across, what is in each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Literal

from safe_clear_plugin.core.states import NO_STATE

Level = Literal["run", "hour", "day", "week", "month", "year"]

FOLD_FROM = 40
"""Tasks from which on those that the plan leaves alone are folded away."""
FOLD_LEAST = 4
"""Neighbouring tasks outside of groups that are worth a fold."""

KINDS = (
    "clear",
    "terminate",
    "create",
    "restore",
    "remove",
    "leave_out",
    "cleared",
    "put_back",
    "stale",
    "untouched",
)
"""What a part of a cell is, in the order in which a cell shows them: the effects of a plan and, after them,
what it cleared, what an undo put back, what goes stale beside it, and what nothing happens to."""

CHANGED_KINDS = ("clear", "terminate", "create", "restore", "remove", "cleared")

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
    """Whether it is of the plan, and not one of the runs beside it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Task instances of a cell that share what happens to them."""

    kind: str
    state: str | None
    after: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What is in one cell: its parts, those that change first, and within them the worst states first."""

    segments: tuple[Segment, ...]
    why: str = ""

    @property
    def count(self) -> int:
        """How many task instances, or runs, it stands for."""
        return sum(segment.count for segment in self.segments)

    @property
    def changed(self) -> int:
        """How many of them the plan changes."""
        return sum(segment.count for segment in self.segments if segment.kind in CHANGED_KINDS)

    def of(self, kind: str) -> int:
        """How many of them are of a kind."""
        return sum(segment.count for segment in self.segments if segment.kind == kind)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the grid: a task with its cells, the head of a group, or a fold of what is left alone."""

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


def folded(nodes: Sequence[Node], touched: Collection[str], opened: Collection[str]) -> list[Row]:
    """Return the lines of the grid without cells; in a DAG of many tasks, what is untouched is folded.

    ``touched`` are the tasks that the plan has to do with; ``opened`` names groups and folds to show whole.
    """
    tasks = [node for node in nodes if not node.group]
    if len(tasks) < FOLD_FROM:
        return [_line(node) for node in nodes]
    busy = {group for node in tasks if node.id in touched for group in node.path}
    inside: Counter[str] = Counter(group for node in tasks for group in node.path)
    rows: list[Row] = []
    for quiet, run in groupby(nodes, key=lambda node: _is_quiet(node, touched, busy)):
        if not quiet:
            rows += [_line(node) for node in run]
        else:
            rows += _fold_quiet(list(run), inside, opened)
    return rows


def _line(node: Node) -> Row:
    return Row("group" if node.group else "task", node, len(node.path))


def _is_quiet(node: Node, touched: Collection[str], busy: Collection[str]) -> bool:
    return node.id not in (busy if node.group else touched)


def _fold_quiet(nodes: Sequence[Node], inside: Mapping[str, int], opened: Collection[str]) -> Iterator[Row]:
    """Fold a stretch of untouched nodes: whole groups by their head, loose tasks of one place together."""
    heads = {node.id for node in nodes if node.group}
    for path, found in groupby(nodes, key=lambda node: _outermost(node, heads)):
        stretch = list(found)
        head = stretch[0]
        if isinstance(path, str):
            shown = path in opened
            yield Row("group", head, len(head.path), tasks=inside[path], open=shown)
            yield from (_line(node) for node in stretch[1:] if shown)
        elif len(stretch) < FOLD_LEAST:
            yield from map(_line, stretch)
        else:
            fold_id = f"task:{head.id}"
            shown = fold_id in opened
            fold = Node(fold_id, "", head.path, group=True)
            yield Row("fold", fold, len(head.path), tasks=len(stretch), open=shown)
            yield from (_line(node) for node in stretch if shown)


def _outermost(node: Node, heads: Collection[str]) -> str | tuple[str, ...]:
    """Return the outermost of the groups that are folded with the node, else the place where it lies."""
    around = (*node.path, node.id) if node.group else node.path
    return next((group for group in around if group in heads), node.path)


def with_others(nodes: Sequence[Node], others: Sequence[Node], gone: Iterable[str]) -> list[Node]:
    """Append, under heads of their own, tasks of other DAG versions and tasks that no version has."""
    found = list(nodes)
    known = {node.id for node in nodes if not node.group}
    for head, tasks in (
        ("In other versions of the Dag", [node.id for node in others if not node.group]),
        ("No longer in the Dag", sorted(gone)),
    ):
        new = [task_id for task_id in dict.fromkeys(tasks) if task_id not in known]
        if new:
            # No group id of a DAG has a space in it.
            found.append(Node(head, head, group=True))
            found += [Node(task_id, task_id, (head,)) for task_id in new]
            known.update(new)
    return found


def describe(found: Cell) -> str:
    """Say what is in a cell: ``2 failed, 1 success → no status, 1 running left out, matched``."""
    parts = []
    for (kind, after), group in groupby(found.segments, key=lambda one: (one.kind, one.after)):
        segments = list(group)
        alone = len(segments) == found.count == 1
        states = ", ".join(_counted(one, alone=alone) for one in segments)
        parts.append(_SAID[kind].format(states, state_word(after)))
    return "; ".join([*parts, found.why] if found.why else parts)


_SAID = {
    "clear": "{0} → {1}",
    "terminate": "{0} terminated → {1}",
    "create": "created → {1}",
    "restore": "{0} restored → {1}",
    "remove": "{0} → {1}",
    "leave_out": "{0} left out",
    "cleared": "{0}, cleared",
    "put_back": "{0}, restored",
    "stale": "{0}, will go stale",
    "untouched": "{0}",
}


def _counted(segment: Segment, *, alone: bool) -> str:
    word = state_word(segment.state)
    return word if alone else f"{segment.count:,} {word}"


def state_word(state: str | None) -> str:
    """Write a state within a sentence."""
    return "no status" if state in (None, NO_STATE) else str(state)


def spans(columns: Sequence[Column], key: Mapping[object, str]) -> list[tuple[str, list[Column]]]:
    """Gather neighbouring columns that share a head, such as the day of several runs."""
    return [(head, list(group)) for head, group in groupby(columns, key=lambda one: key[one.key])]
