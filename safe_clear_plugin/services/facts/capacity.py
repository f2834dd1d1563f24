"""Holds the plan against Airflow's limits."""

from __future__ import annotations

import math

from safe_clear_plugin.airflow_api.scheduling.capacity import PoolSlots, RunGroup, TaskCount
from safe_clear_plugin.core import formats
from safe_clear_plugin.core.findings import CapacityFacts
from safe_clear_plugin.core.findings.capacity import Places, PoolUse, TaskLimit
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.facts.workload import Workload, task_of


def facts(plan: PlanContext, workload: Workload) -> CapacityFacts:
    """Say which limits are met."""
    widest = max(workload.counts, key=lambda count: count.widest, default=None)
    last = workload.estimate.last_start if workload.estimate else None
    return CapacityFacts(
        dag_id=plan.selection.dag_id,
        places=tuple(_places(group, workload) for group in workload.groups),
        last_start=formats.about(plan.now, last) if last else "",
        max_active_tasks=workload.dag.max_active_tasks,
        widest_task=widest.task_id if widest else "",
        widest=widest.widest if widest else 0,
        pools=tuple(_pools(plan, workload)),
        task_limits=tuple(_task_limits(plan, workload)),
    )


def _places(group: RunGroup, workload: Workload) -> Places:
    return Places(
        limit=workload.places(group),
        to_queue=group.to_queue,
        active=group.running + group.others_running,
        others_queued=group.others_queued,
        backfill=group.backfill_id is not None,
        paused=group.paused,
    )


def _pools(plan: PlanContext, workload: Workload) -> list[PoolUse]:
    by_pool: dict[str, list[tuple[TaskCount, int]]] = {}
    for count in workload.counts:
        if (task := task_of(count, plan)) is not None:
            by_pool.setdefault(task.pool, []).append((count, task.pool_slots))
    return [
        _pool_use(name, tasks, workload.pools.get(name), _runs_abreast(workload))
        for name, tasks in sorted(by_pool.items())
    ]


def _runs_abreast(workload: Workload) -> int:
    """Return how many runs of the plan may be active at a time."""
    return sum(
        min(group.to_queue + group.running, max(workload.places(group), 0)) for group in workload.groups
    )


def _pool_use(name: str, tasks: list[tuple[TaskCount, int]], pool: PoolSlots | None, abreast: int) -> PoolUse:
    total = pool.total if pool else 0
    # The tasks of a run mostly wait for each other, so the one that asks for most stands for them.
    wanted = max(min(count.runs, abreast) * count.widest * slots for count, slots in tasks)
    return PoolUse(
        name=name,
        exists=pool is not None,
        total=total,
        open=pool.open if pool else 0,
        wanted=0 if math.isinf(total) else wanted,
        blocked=sum(count.instances for count, slots in tasks if total <= 0 or slots > total),
    )


def _task_limits(plan: PlanContext, workload: Workload) -> list[TaskLimit]:
    found: dict[tuple[str, str], TaskLimit] = {}
    for count in workload.counts:
        task = task_of(count, plan)
        if task is None:
            continue
        for setting, limit, instances in (
            ("max_active_tis_per_dag", task.max_active_tis_per_dag, count.instances),
            ("max_active_tis_per_dagrun", task.max_active_tis_per_dagrun, count.widest),
        ):
            if limit is not None and instances > limit:
                key = (count.task_id, setting)
                found.setdefault(key, TaskLimit(count.task_id, setting, limit, instances))
    return list(found.values())
