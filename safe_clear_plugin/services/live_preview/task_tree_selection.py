"""The tasks of a DAG as a tree; each says whether the selection includes it, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import task_groups
from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.dag.propagation import Marker
from safe_clear_plugin.core.grid.model import Node
from safe_clear_plugin.core.inclusion import Reason, ReasonKind
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_counts import Taken
from safe_clear_plugin.services.planning import task_matching
from safe_clear_plugin.services.planning.task_matching import TaskFilter

Kind = Literal["matched", "along", "off", "excluded"]
Marks = Mapping[UUID, Mapping[Marker, Reason]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A task, or a group with its members, of the DAG as it is shown."""

    node: Node
    kind: Kind
    why: str
    children: tuple[Mark, ...] = ()

    @property
    def tasks(self) -> Iterator[Mark]:
        """Yield the task itself, or all tasks in the group."""
        if not self.node.group:
            yield self
        for child in self.children:
            yield from child.tasks

    @property
    def marked(self) -> int:
        """The number of its tasks that are cleared."""
        return sum(task.kind in ("matched", "along") for task in self.tasks)

    @property
    def total(self) -> int:
        """The number of its tasks."""
        return sum(1 for _ in self.tasks)


@dataclass(frozen=True, slots=True)
class Tree:
    """The latest version of the DAG, and what other versions have that it has not."""

    roots: tuple[Mark, ...]
    elsewhere: tuple[str, ...]
    """Tasks that are cleared in runs of other DAG versions only."""
    versions: tuple[int, ...]
    """The numbers of the other DAG versions that the runs use."""

    def count(self, *kinds: Kind) -> int:
        """Count the tasks marked so; all tasks without an argument."""
        return sum(not kinds or task.kind in kinds for root in self.roots for task in root.tasks)


def mark(selection: Selection, tasks: TaskFilter, versions: Iterable[Version], session: Session) -> Marks:
    """Return by DAG version the selected tasks, each with the reason.

    :raises Invalid: when a map index is asked for, of tasks that share no mapped task group, or the task
        regex takes too long
    """
    found = {}
    for version in versions:
        matched = tasks.matching(version)
        found[version.id] = task_matching.markers(selection, matched, version, session)
    return found


def taken(selection: Selection, marks: Marks) -> Taken:
    """Return the tasks to count of each DAG version; whole runs include tasks that the DAG has lost."""
    return {version: None if not selection.names_tasks else set(found) for version, found in marks.items()}


def tree(latest: Version, marks: Marks, versions: Mapping[UUID, Version], selection: Selection) -> Tree:
    """Return the tasks of the latest version in their groups, marked."""
    reasons = _reasons(marks.get(latest.id, {}))
    known = set(latest.task_ids)
    others = [version for id_, version in versions.items() if id_ != latest.id]
    elsewhere = (task for version in others for task, _ in marks.get(version.id, {}) if task not in known)
    return Tree(
        roots=_children(list(task_groups.nodes(latest)), reasons, set(selection.exclude_task_id)),
        elsewhere=tuple(dict.fromkeys(task for task in elsewhere if task not in selection.exclude_task_id)),
        versions=tuple(sorted((version.number for version in others), reverse=True)),
    )


def _reasons(marks: Mapping[Marker, Reason]) -> dict[str, Reason]:
    reasons: dict[str, Reason] = {}
    for (task_id, index), why in marks.items():
        reasons.setdefault(task_id, why if why.map_index is not None else why._replace(map_index=index))
    return reasons


def _children(nodes: list[Node], reasons: Mapping[str, Reason], excluded: set[str]) -> tuple[Mark, ...]:
    by_path: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        by_path.setdefault(node.path, []).append(node)

    def build(at: tuple[str, ...]) -> tuple[Mark, ...]:
        return tuple(
            Mark(node, "off", "", build((*at, node.id))) if node.group else _mark(node, reasons, excluded)
            for node in by_path.get(at, ())
        )

    return build(())


def _mark(node: Node, reasons: Mapping[str, Reason], excluded: set[str]) -> Mark:
    reason = reasons.get(node.id)
    if reason is None:
        return Mark(node, "off", "")
    if node.id in excluded:
        return Mark(node, "excluded", "excluded")
    why = "if it failed" if reason.kind is ReasonKind.FAILED else reason.words
    return Mark(node, "matched" if reason.is_chosen else "along", why)
