"""The tasks of a DAG version in their groups, in the order of Airflow's grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safe_clear_plugin.airflow_api.dag.dag_versions import Version, children_in_order
from safe_clear_plugin.core.grid.model import Node


def nodes(version: Version) -> tuple[Node, ...]:
    """Return groups and tasks in topological order, a group before its members."""
    if version.dag is None:
        return ()
    try:
        return tuple(_walk(version.dag.task_group, ()))
    except ValueError:
        # A path that leaves a task group and comes back is no cycle of tasks, but one of groups.
        return tuple(_task(task, ()) for task in version.dag.task_dict.values())


def _walk(group: Any, path: tuple[str, ...]) -> Iterator[Node]:
    for child in children_in_order(group):
        if hasattr(child, "task_id"):
            yield _task(child, path)
        else:
            yield Node(child.group_id, _label(child, path), path, group=True, mapped=bool(child.is_mapped))
            yield from _walk(child, (*path, child.group_id))


def _task(task: Any, path: tuple[str, ...]) -> Node:
    role = "setup" if task.is_setup else "teardown" if task.is_teardown else ""
    mapped = bool(task.is_mapped) or task.get_closest_mapped_task_group() is not None
    return Node(task.task_id, _label(task, path), path, mapped=mapped, role=role)


def _label(node: Any, path: tuple[str, ...]) -> str:
    # Inside a group that prefixes its ids, the rest of the id says all.
    label = str(node.node_id)
    return label.removeprefix(f"{path[-1]}.") if path else label
