"""Pools whose slots keep cleared task instances waiting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.scheduling.capacity import TaskCount
from safe_clear_plugin.airflow_api.scheduling.pool_slots import PoolSlots
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import MANY, count, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.workload import Workload

NO_POOL = PoolSlots(0, 0)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool that cleared tasks use, and how many of its slots they could take at a time."""

    name: str
    exists: bool
    total: float
    open: float
    wanted: int
    blocked: int
    """Task instances that can never start: no slots, fewer than ``pool_slots``, or those of another team."""
    other_team: str = ""
    """The team that the pool belongs to, if the DAG does not."""


def collect_facts(plan: PlanContext) -> tuple[PoolUse, ...]:
    """Add up what the cleared tasks could take from each pool."""
    workload = plan.workload
    by_pool: dict[str, list[tuple[TaskCount, int]]] = {}
    for tasks in workload.counts:
        if (task := workload.task(tasks)) is not None:
            by_pool.setdefault(task.pool, []).append((tasks, task.pool_slots))
    active_runs = _active_runs(workload)
    return tuple(_pool_use(name, tasks, workload, active_runs) for name, tasks in sorted(by_pool.items()))


def _active_runs(workload: Workload) -> int:
    """Return how many runs of the plan may be active at a time."""
    return sum(
        min(group.to_queue + group.running, max(workload.max_active_runs(group), 0))
        for group in workload.groups
    )


def _pool_use(
    name: str, tasks: Sequence[tuple[TaskCount, int]], workload: Workload, active_runs: int
) -> PoolUse:
    pool, team = workload.pools.get(name, NO_POOL), workload.team
    # The tasks of a run mostly wait for each other, so the one that needs most slots stands for all.
    wanted = max(min(task.runs, active_runs) * task.widest * slots for task, slots in tasks)
    return PoolUse(
        name=name,
        exists=name in workload.pools,
        total=pool.total,
        open=pool.open,
        wanted=0 if math.isinf(pool.total) else wanted,
        blocked=sum(
            task.instances + task.never_start for task, slots in tasks if not pool.has_room(slots, team)
        ),
        other_team="" if pool.team in (None, team) else pool.team,
    )


def pool_blocks(pools: Sequence[PoolUse]) -> Finding | None:
    """Find missing and too small pools: ``_executable_task_instances_to_queued`` never queues their tasks."""
    blocking = [pool for pool in pools if pool.blocked]
    if not blocking:
        return None
    blocked = sum(pool.blocked for pool in blocking)
    return Finding(
        "pool_blocks",
        "warn",
        f"{count(blocked, 'task instance')} can never start: {_why_blocked(blocking)}",
        "The scheduler leaves a task instance in Scheduled as long as its pool does not exist, has no "
        "slots, has fewer slots than the task's `pool_slots`, or belongs to another team. Its Dag run does "
        "not finish either.",
        blocked,
        remedy=_how_to_unblock(blocking),
        rows=True,
        links=tuple(Link("pool", pool.name) for pool in blocking),
    )


def _why_blocked(pools: Sequence[PoolUse]) -> str:
    if len(pools) > 1:
        return f"{count(len(pools), 'pool')} missing, too small or another team's"
    [pool] = pools
    if not pool.exists:
        return f"pool {pool.name} does not exist"
    if pool.other_team:
        return f"pool {pool.name} belongs to another team"
    return f"pool {pool.name} has {count(int(pool.total), 'slot')}"


def _how_to_unblock(pools: Sequence[PoolUse]) -> str:
    ways = []
    if any(not pool.other_team for pool in pools):
        ways.append("Create the pool, or give it more slots.")
    if any(pool.other_team for pool in pools):
        ways.append("Give the task a pool of its own team or of no team, and clear with the latest version.")
    return " ".join(ways)


def pool_tight(pools: Sequence[PoolUse]) -> Finding | None:
    """Find pools with fewer open slots than the plan could use."""
    tight = [pool for pool in pools if not pool.blocked and pool.wanted > pool.open]
    if not tight:
        return None
    shown = [
        f"`{pool.name}` has {pool.open:,.0f} of {pool.total:,.0f} slots open; the plan could use "
        f"{pool.wanted:,}."
        for pool in tight[:MANY]
    ]
    if (more := len(tight) - MANY) > 0:
        shown.append(f"{count(more, 'more pool')} {verb(more, 'is', 'are')} short of slots.")
    return Finding(
        "pool_tight",
        "info",
        f"Task instances will wait for slots of {_pool_names(tight)}",
        f"{' '.join(shown)} Other Dags that use the same pool will wait too.",
        len(tight),
        links=tuple(Link("pool", pool.name) for pool in tight),
    )


def _pool_names(pools: Sequence[PoolUse]) -> str:
    return f"pool {pools[0].name}" if len(pools) == 1 else count(len(pools), "pool")


AREA = Area(
    "pools",
    collect_facts,
    (
        Check("pool_blocks", "pools that are missing, too small or another team's", pool_blocks),
        Check("pool_tight", "pools with too few open slots", pool_tight),
    ),
    needs_workload=True,
)
