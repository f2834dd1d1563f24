"""Task instances that the scheduler creates, since their DAG has changed.

Mirrors ``DagRun._create_tasks``, and what ``_revise_map_indexes_if_mapped`` and ``expand_mapped_task``
create.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, func, or_, select

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_of_task, exists_row, is_same
from safe_clear_plugin.airflow_api.scheduling.integrity import Checked


def missing_tasks(checked: Checked, task_ids: Collection[str]) -> Select[Any]:
    """Select run_id and task_id of tasks that verified runs lack; those that are not due are left out."""
    ti, runs, tasks = task_instance.alias("there"), checked.plan.runs, checked.tasks.table
    there = exists_of_task(
        ti,
        checked.dag_id,
        ti.c.run_id == runs.c.run_id,
        ti.c.task_id == tasks.c.task_id,
    )
    return (
        select(runs.c.run_id, tasks.c.task_id)
        .select_from(runs.join(tasks, tasks.c.task_id.in_(sorted(task_ids))))
        .where(
            *checked.plan.is_unfinished_run(),
            checked.verified,
            checked.tasks.is_due(runs, tasks.c.task_id),
            ~there,
        )
    )


def missing_instances(checked: Checked, task_ids: Collection[str]) -> Select[Any]:
    """Select run_id, task_id, map_index, retries of what ``verify_integrity`` creates of these tasks."""
    missing = missing_tasks(checked, set(task_ids) - set(checked.tasks.by_results)).subquery("missing")
    indexes = checked.tasks.indexes(task_ids)
    return select(
        missing.c.run_id, missing.c.task_id, indexes.c.number.label("map_index"), indexes.c.retries
    ).join(indexes, indexes.c.task_id == missing.c.task_id)


def later_expanded(checked: Checked, task_ids: Collection[str], pending: Sequence[str]) -> Select[Any]:
    """Select the same of what is created when a task that is mapped over literals is about to start.

    That is when one of its task instances, planned with one of the effects ``pending``, is ready.
    """
    plan, ti, indexes = checked.plan, task_instance.alias("there"), checked.tasks.indexes(task_ids)
    ready = _ready_to_expand(checked, task_ids, pending).subquery("ready")
    planned = plan.task_instances.alias("planned")
    here = (
        ti.c.run_id == ready.c.run_id,
        ti.c.task_id == ready.c.task_id,
        is_same(ti.c.map_index, indexes.c.number),
    )
    in_plan = (
        planned.c.run_id == ready.c.run_id,
        planned.c.task_id == ready.c.task_id,
        planned.c.map_index == indexes.c.number,
    )
    return (
        select(ready.c.run_id, ready.c.task_id, indexes.c.number.label("map_index"), indexes.c.retries)
        .join(indexes, indexes.c.task_id == ready.c.task_id)
        .where(
            indexes.c.number >= 0,
            # The one that stands for all of them becomes the first.
            or_(ready.c.lowest >= 0, indexes.c.number > 0),
            ~exists_of_task(ti, checked.dag_id, *here),
            ~exists_row(planned, planned.c.plan_id == plan.plan_id, *in_plan),
        )
    )


def _ready_to_expand(checked: Checked, task_ids: Collection[str], pending: Sequence[str]) -> Select[Any]:
    """Select run_id, task_id and the lowest map index of tasks that are about to start."""
    plan, rows = checked.plan, checked.plan.task_instances
    return (
        select(rows.c.run_id, rows.c.task_id, func.min(rows.c.map_index).label("lowest"))
        .select_from(plan.joined())
        .where(
            *plan.is_to_run(),
            checked.compared(),
            rows.c.task_id.in_(sorted(task_ids)),
            rows.c.effect.in_(pending),
            rows.c.after_state.is_(None),
        )
        .group_by(rows.c.run_id, rows.c.task_id)
    )
