"""The parts of a DAG version that decide which tasks a clear includes and how they are related."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.serialization.definitions.mappedoperator import is_mapped

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.dag.dependencies import mapped_over, trigger_rule
from safe_clear_plugin.airflow_api.dag.human_tasks import asks_person

TaskGraph = Hashable
"""Equal for DAG versions for which :mod:`propagation` and :mod:`dependencies` give the same results."""


@dataclass(frozen=True)
class Shape:
    """The DAG versions of a plan that have the same task graph, by a number of their own."""

    number: int
    version: Version
    """One of the versions; for tasks and their relations it stands for all."""
    tasks: Sequence[Mapping[str, Any]]
    """The tasks that the plan takes: rows of ``safe_clear_plan_task`` without the plan and the shape."""
    matched: bool
    """Whether the task regex matches any task."""
    chosen: frozenset[str] = frozenset()
    """The tasks that the selection names, without the relatives that it includes."""

    def tasks_among(self, task_ids: Collection[str]) -> list[str]:
        """Return those of the tasks that the DAG has, in its order."""
        return [task_id for task_id in self.version.task_ids if task_id in task_ids]


def task_graph(version: Version) -> TaskGraph:
    """Return the graph of a version: its tasks in their orders, with all that the two modules look at."""
    if version.dag is None:
        return None
    tasks = version.dag.task_dict
    return (version.task_ids, tuple(tasks), tuple(_node(task) for task in tasks.values()))


def _node(task: Any) -> Hashable:
    return (
        tuple(sorted(task.upstream_task_ids)),
        trigger_rule(task),
        task.is_setup,
        task.is_teardown,
        bool(task.is_teardown and task.on_failure_fail_dagrun),
        bool(task.depends_on_past),
        task.max_active_tis_per_dag is None,
        task.max_active_tis_per_dagrun is None,
        int(task.retries or 0),
        is_mapped(task),
        is_mapped(task.task_group),
        task.get_needs_expansion(),
        tuple(group.group_id for group in task.iter_mapped_task_groups()),
        tuple(sorted(mapped_over(task))),
        # The class of an operator decides what it skips or waits for.
        task.inherits_from_skipmixin and task.task_type,
        asks_person(task),
    )
