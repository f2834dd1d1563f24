"""The tasks of the latest DAG version, as ``DagRun.verify_integrity`` looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow.exceptions import NotMapped
from airflow.models.expandinput import NotFullyPopulated
from sqlalchemy import CTE, ColumnElement, FromClause, and_, or_

from safe_clear_plugin.airflow_api.platform.key_table import rows_of_tasks

NOT_LITERAL = -1
"""Stands for the number of task instances of a task whose map indexes its literals do not give."""

NOT_KNOWN = object()
"""Stands for that number where it depends on what other tasks return."""


@dataclass(frozen=True)
class LatestTasks:
    """The task instances that the tasks are to have."""

    dag: Any
    literals: Mapping[str, int] = field(default_factory=dict)
    """The tasks that are mapped over literals alone, with the number of their map indexes."""
    by_results: Sequence[str] = ()
    """The tasks whose map indexes depend on what other tasks have returned."""

    @classmethod
    def of(cls, dag: Any) -> LatestTasks:
        """Sort the tasks of a DAG by how they are mapped."""
        numbers = {task_id: _literal_length(task) for task_id, task in dag.task_dict.items()}
        return cls(
            dag,
            {task_id: number for task_id, number in numbers.items() if isinstance(number, int)},
            [task_id for task_id, number in numbers.items() if number is NOT_KNOWN],
        )

    @cached_property
    def table(self) -> CTE:
        """All tasks as rows: task_id, number of map indexes, retries."""
        return rows_of_tasks(
            ((id_, self.literals.get(id_, NOT_LITERAL), _retries(task)) for id_, task in self._tasks()),
            "latest_tasks",
        )

    def indexes(self, task_ids: Iterable[str]) -> CTE:
        """Return the map indexes of these tasks, of those mapped over literals or not at all, as rows."""
        tasks = [(id_, self.dag.task_dict[id_]) for id_ in sorted(task_ids) if id_ not in self.by_results]
        return rows_of_tasks(
            (
                (task_id, map_index, _retries(task))
                for task_id, task in tasks
                for map_index in map_indexes(self.literals.get(task_id))
            ),
            "map_indexes",
        )

    def is_due(self, runs: FromClause, task_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Mirror the ``task_filter`` of ``verify_integrity``: a task has its own first and last date."""
        by_dates: dict[tuple[datetime | None, datetime | None], list[str]] = {}
        for id_, task in self._tasks():
            by_dates.setdefault((task.start_date, task.end_date), []).append(id_)
        dated = [
            _between(runs, dates)
            if len(by_dates) == 1
            else and_(task_id.in_(sorted(ids)), _between(runs, dates))
            for dates, ids in by_dates.items()
        ]
        return or_(runs.c.run_type == "backfill", runs.c.logical_date.is_(None), *dated)

    def retries(self, task_id: str) -> int:
        """Return the retries of a task."""
        return _retries(self.dag.task_dict[task_id])

    def _tasks(self) -> Iterable[tuple[str, Any]]:
        tasks: Mapping[str, Any] = self.dag.task_dict
        return tasks.items()


def _literal_length(task: Any) -> int | object | None:
    """Return how many map indexes a task has, ``None`` if it is not mapped."""
    try:
        length: int = task.get_parse_time_mapped_ti_count()
    except NotMapped:
        return None
    except NotFullyPopulated:
        return NOT_KNOWN
    return length


def map_indexes(count: int | None) -> range:
    """Mirror ``DagRun._create_tasks``: at least one task instance, -1 while the mapping is not known."""
    return range(count) if count else range(-1, 0)


def _between(runs: FromClause, dates: tuple[datetime | None, datetime | None]) -> ColumnElement[bool]:
    start, end = dates
    conditions = []
    if start is not None:
        conditions.append(runs.c.logical_date >= start)
    if end is not None:
        conditions.append(runs.c.logical_date <= end)
    return and_(*conditions) if conditions else runs.c.run_id.is_not(None)


def _retries(task: Any) -> int:
    return int(task.retries or 0)
