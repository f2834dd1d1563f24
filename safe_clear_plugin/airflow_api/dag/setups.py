"""Setups and teardowns: the tasks that they serve, and the teardown that belongs to a setup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from safe_clear_plugin.airflow_api.dag.dependencies import Relation, RelationKind, share_mapping


def serving(dag: Any, task_ids: Iterable[str]) -> Iterator[Relation]:
    """Yield each setup and each teardown that a clear takes along with one of the tasks.

    ``task_id`` is the setup or teardown; the related one is the task that it serves. A teardown serves its
    setups, too: a clear takes it along with them.
    """
    for task_id in task_ids:
        task = dag.get_task(task_id)
        for other in _taken_with(task):
            kind: RelationKind = "teardown_for" if other.is_teardown else "setup_for"
            yield Relation(other.task_id, kind, task_id, share_mapping(task, other))


def _taken_with(task: Any) -> Iterator[Any]:
    if task.is_setup:
        yield from _teardowns_of(task)
    elif not task.is_teardown:
        yield from task.get_upstreams_only_setups_and_teardowns()


def used_by(dag: Any, task_ids: Iterable[str]) -> Iterator[Relation]:
    """Yield the setups and teardowns that can be missing when the tasks run again.

    For a task, these are the setups that it uses and their teardowns; for a setup, its own teardowns.
    """
    for task_id in task_ids:
        task = dag.get_task(task_id)
        if task.is_teardown:
            continue
        for setup in (task,) if task.is_setup else task.get_upstreams_only_setups():
            if setup is not task:
                yield Relation(task_id, "uses_setup", setup.task_id, share_mapping(task, setup))
            for teardown in _teardowns_of(setup):
                yield Relation(
                    setup.task_id, "torn_down_by", teardown.task_id, share_mapping(setup, teardown)
                )


def _teardowns_of(setup: Any) -> Iterator[Any]:
    return (task for task in setup.downstream_list if task.is_teardown)
