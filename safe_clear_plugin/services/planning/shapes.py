"""Shapes: groups of DAG versions in which a plan includes the same tasks, with the same relations.

Most versions of a DAG have the same shape. Results are computed and written once for each shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, setups
from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.dag.task_graph import Shape, TaskGraph, task_graph
from safe_clear_plugin.core.selection import ALL_INDEXES, Selection
from safe_clear_plugin.services.planning import task_matching

Row = Mapping[str, Any]
"""A row of ``safe_clear_plan_task`` without its plan and shape; ``map_index`` of ``None`` is for all."""


class Shapes:
    """Sorts DAG versions by shape, as they come."""

    def __init__(self, selection: Selection, tasks: task_matching.TaskFilter, session: Session) -> None:
        self._selection, self._tasks, self._session = selection, tasks, session
        self._found: dict[TaskGraph, Shape] = {}
        self.numbers: dict[UUID, int] = {}
        """The shape of each DAG version."""

    def __iter__(self) -> Iterator[Shape]:
        """Return the shapes in the order of their numbers."""
        return iter(self._found.values())

    def add(self, versions: Iterable[dag_versions.Version]) -> None:
        """Sort versions in.

        :raises Invalid: when a map index is asked for, of tasks that share no mapped task group
        """
        for version in versions:
            key = self._key(version)
            if (shape := self._found.get(key)) is None:
                shape = self._found[key] = self._shape(len(self._found), version)
            self.numbers[version.id] = shape.number

    def _key(self, version: dag_versions.Version) -> TaskGraph:
        # The relatives of a map index in one run depend on the expanded mappings of that version.
        of_one_run = self._selection.map_index is not None and self._selection.mapped_in != ALL_INDEXES
        return version.id if of_one_run else task_graph(version)

    def _shape(self, number: int, version: dag_versions.Version) -> Shape:
        matched = self._tasks.matching(version)
        retries = dag_versions.retries(version)
        selection = self._selection.without_relatives()
        found = task_matching.markers(selection, matched, version, self._session)
        tasks = [
            {"task_id": task_id, "map_index": map_index, "retries": retries[task_id], "why": reason.words}
            for (task_id, map_index), reason in found.items()
        ]
        chosen = frozenset(task_id for (task_id, _), reason in found.items() if reason.is_chosen)
        return Shape(number, version, tasks, bool(matched), chosen)


def serving(
    shapes: Iterable[Shape], more: Mapping[int, Collection[str]] = MappingProxyType({})
) -> dict[int, list[Relation]]:
    """Return by shape the setups and teardowns of the tasks that are taken, and of ``more`` of its tasks."""
    found = {}
    for shape in shapes:
        taken = dict.fromkeys(row["task_id"] for row in shape.tasks)
        taken |= dict.fromkeys(shape.tasks_among(more.get(shape.number, ())))
        if shape.version.dag is not None and (relations := list(setups.serving(shape.version.dag, taken))):
            found[shape.number] = relations
    return found


def other_rows(shapes: Iterable[Shape]) -> Iterator[Row]:
    """Yield the tasks that the selection does not match, but whose task instances may be included."""
    for shape in shapes:
        taken = {row["task_id"] for row in shape.tasks}
        if shape.version.dag is None or taken.issuperset(shape.version.task_ids):
            continue
        retries = dag_versions.retries(shape.version)
        for task_id in shape.version.task_ids:
            if task_id not in taken:
                yield {
                    "shape": shape.number,
                    "task_id": task_id,
                    "map_index": None,
                    "retries": retries[task_id],
                    "why": "",
                }


def rows(shapes: Iterable[Shape]) -> Iterator[Row]:
    """Yield the tasks of the selection as rows."""
    for shape in shapes:
        yield from ({"shape": shape.number, **row} for row in shape.tasks)
