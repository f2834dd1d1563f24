"""The lines of the grid: task groups, tasks, and folds of tasks that the plan leaves alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from safe_clear_plugin.core.grid.model import Node, Row

FOLD_FROM = 40
"""Tasks from which on those that the plan leaves alone are folded away."""


MIN_FOLD = 4
"""Neighbouring tasks outside of groups that are worth a fold."""


def folded(nodes: Sequence[Node], touched: Collection[str], opened: Collection[str]) -> list[Row]:
    """Return the lines of the grid without cells; in a DAG of many tasks, untouched ones are folded.

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
        elif len(stretch) < MIN_FOLD:
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
