"""The task instances that decide how a dag run ends, as in ``DagRun.update_state``."""

from __future__ import annotations

from typing import Any

FAILED_STATES = ("failed", "upstream_failed")
"""``State.failed_states``."""


def effective_leaves(dag: Any) -> frozenset[str]:
    """Mirror ``DagRun._tis_for_dagrun_state``: the tasks whose states are the dag run's."""
    leaves = frozenset(task.task_id for task in dag.tasks if _is_effective_leaf(dag, task))
    return leaves or frozenset(task.task_id for task in dag.tasks if not task.downstream_list)


def _is_effective_leaf(dag: Any, task: Any) -> bool:
    return _counts(task) and not any(_counts(dag.get_task(id_)) for id_ in task.downstream_task_ids)


def _counts(task: Any) -> bool:
    return not task.is_teardown or bool(task.on_failure_fail_dagrun)


def waited_for_forever(dag: Any) -> frozenset[str]:
    """Return the tasks that keep the scheduler from seeing a deadlock (``should_schedule``).

    Their unfinished task instances may wait for other dag runs, so that it does not fail theirs.
    """
    return frozenset(
        task.task_id
        for task in dag.tasks
        if task.depends_on_past
        or task.max_active_tis_per_dag is not None
        or task.max_active_tis_per_dagrun is not None
    )
