"""DAG versions that are the same to a plan: it takes the same tasks of them, and these are related alike.

Most of many versions are. What is worked out, or written, is so once for all versions of a shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, setups
from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.dag.task_graph import Shape, TaskGraph, task_graph
from safe_clear_plugin.core.regex import Regex
from safe_clear_plugin.core.selection import ALL_INDEXES, Selection
from safe_clear_plugin.services.planning import task_matching

Row = Mapping[str, Any]
"""A row of ``safe_clear_plan_task`` without its plan and shape; ``map_index`` of ``None`` is for all."""


class Shapes:
    """Sorts DAG versions by shape, as they come."""

    def __init__(self, selection: Selection, pattern: Regex, session: Session) -> None:
        self._selection, self._pattern, self._session = selection, pattern, session
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
        # What belongs to a map index in one run hangs on how far that version's mappings are expanded.
        of_one_run = self._selection.map_index is not None and self._selection.mapped_in != ALL_INDEXES
        return version.id if of_one_run else task_graph(version)

    def _shape(self, number: int, version: dag_versions.Version) -> Shape:
        matched = task_matching.matched_tasks(self._pattern, version)
        retries = dag_versions.retries(version)
        found = task_matching.markers(self._selection, matched, version, self._session)
        tasks = [
            {"task_id": task_id, "map_index": map_index, "retries": retries[task_id], "why": reason.words}
            for (task_id, map_index), reason in found.items()
        ]
        return Shape(number, version, tasks, bool(matched))


def serving(shapes: Iterable[Shape]) -> dict[int, list[Relation]]:
    """Return by shape the setups and teardowns of the tasks that are taken."""
    found = {}
    for shape in shapes:
        taken = dict.fromkeys(row["task_id"] for row in shape.tasks)
        if shape.version.dag is not None and (relations := list(setups.serving(shape.version.dag, taken))):
            found[shape.number] = relations
    return found


def rows(shapes: Iterable[Shape]) -> Iterator[Row]:
    """Yield what is taken, as it is written."""
    for shape in shapes:
        yield from ({"shape": shape.number, **row} for row in shape.tasks)
