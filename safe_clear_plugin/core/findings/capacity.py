"""How much may be at work at a time, and what has to wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.finding import Check, Finding, Link
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import MANY, count


@dataclass(frozen=True, slots=True)
class Places:
    """Dag runs that share a ``max_active_runs``: those of a backfill, or all others of the DAG."""

    limit: int
    to_queue: int
    """Runs of the plan that are queued after the clear."""
    active: int
    """Runs that are running, in the plan or not."""
    others_queued: int = 0
    backfill: bool = False
    paused: bool = False

    @property
    def waiting(self) -> int:
        """Runs that find no place at once."""
        return max(0, self.to_queue - max(0, self.limit - self.active))


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool that cleared tasks use, and how many of its slots they could take at a time."""

    name: str
    exists: bool
    total: float
    open: float
    wanted: int
    blocked: int
    """Task instances that can never start: no slots, or a task that needs more than there are."""


@dataclass(frozen=True, slots=True)
class TaskLimit:
    """A task of which only so many task instances are at work at a time."""

    task_id: str
    setting: str
    limit: int
    instances: int


@dataclass(frozen=True, slots=True)
class CapacityFacts:
    """Airflow's limits, and how much of the plan each of them concerns."""

    dag_id: str = ""
    places: tuple[Places, ...] = ()
    last_start: str = ""
    """About when the last run starts, in words; empty when that is not known."""
    max_active_tasks: int = 0
    widest_task: str = ""
    widest: int = 0
    """Most task instances of a task in one run."""
    pools: tuple[PoolUse, ...] = ()
    task_limits: tuple[TaskLimit, ...] = ()


def runs_wait(facts: CapacityFacts) -> Finding | None:
    """Queued runs that find ``max_active_runs`` taken."""
    groups = [group for group in facts.places if not group.paused and group.waiting]
    if not groups:
        return None
    waiting = sum(group.waiting for group in groups)
    queued = sum(group.to_queue for group in facts.places if not group.paused)
    if all(group.limit <= 0 for group in groups):
        when = "None of them starts while it is 0."
    elif facts.last_start:
        when = f"The last starts about {facts.last_start}."
    else:
        when = "When the last one starts is not known."
    title = f"{waiting:,} of {count(queued, 'dag run')} {verb(waiting, 'waits', 'wait')} for others to finish"
    detail = " ".join([*map(_places, groups), when])
    return Finding(
        "runs_wait",
        "warn",
        title,
        detail,
        waiting,
        remedy="Clear fewer runs at a time, or raise `max_active_runs`.",
        links=(Link("dag", facts.dag_id),),
    )


def _places(group: Places) -> str:
    whose = "Of a backfill, `max_active_runs`" if group.backfill else "`max_active_runs`"
    free = max(0, group.limit - group.active)
    text = (
        f"{whose} is {group.limit:,} and {group.active:,} {verb(group.active, 'is', 'are')} active, "
        f"so {free:,} of {group.to_queue:,} {verb(free, 'starts', 'start')} at once."
    )
    if group.others_queued:
        text += f" {count(group.others_queued, 'other run')} {verb(group.others_queued, 'is', 'are')} queued."
    return text


def max_active_tasks(facts: CapacityFacts) -> Finding | None:
    """More task instances in a run than ``max_active_tasks`` lets be at work; it holds for each run."""
    if facts.widest <= facts.max_active_tasks:
        return None
    none = facts.max_active_tasks <= 0
    return Finding(
        "max_active_tasks",
        "warn" if none else "info",
        "max_active_tasks is 0, so no task instance will start"
        if none
        else f"{count(facts.max_active_tasks, 'task instance')} of a dag run at a time",
        f"`max_active_tasks` is {facts.max_active_tasks:,} for each dag run, and `{facts.widest_task}` has "
        f"up to {count(facts.widest, 'task instance')} in one. The others wait their turn.",
        facts.widest,
        filter={"task": facts.widest_task},
        links=(Link("dag", facts.dag_id),),
    )


def pool_blocks(facts: CapacityFacts) -> Finding | None:
    """Pools that are missing or too small: ``_executable_task_instances_to_queued`` never queues these."""
    pools = [pool for pool in facts.pools if pool.blocked]
    if not pools:
        return None
    blocked = sum(pool.blocked for pool in pools)
    return Finding(
        "pool_blocks",
        "warn",
        f"{count(blocked, 'task instance')} can never start: {_why_blocked(pools)}",
        "The scheduler leaves a task instance in `scheduled`, without end, while its pool does not exist, "
        "has no slots, or has fewer than the task's `pool_slots`. Its dag run does not finish either.",
        blocked,
        remedy="Make the pool, or give it more slots.",
        links=tuple(Link("pool", pool.name) for pool in pools),
    )


def _why_blocked(pools: Sequence[PoolUse]) -> str:
    if len(pools) > 1:
        return f"{count(len(pools), 'pool')} missing or too small"
    [pool] = pools
    if not pool.exists:
        return f"there is no pool {pool.name}"
    return f"pool {pool.name} has {count(int(pool.total), 'slot')}"


def pool_tight(facts: CapacityFacts) -> Finding | None:
    """Pools with fewer slots open than the plan could use."""
    pools = [pool for pool in facts.pools if not pool.blocked and pool.wanted > pool.open]
    if not pools:
        return None
    shown = "; ".join(
        f"`{pool.name}`: {pool.open:,.0f} of {pool.total:,.0f} slots open, {pool.wanted:,} could be used"
        for pool in pools[:MANY]
    )
    more = f"; and {len(pools) - MANY:,} more" if len(pools) > MANY else ""
    return Finding(
        "pool_tight",
        "info",
        f"Task instances wait for slots of {_pool_names(pools)}",
        f"{shown}{more}. Other DAGs that use the same pool wait too.",
        len(pools),
        links=tuple(Link("pool", pool.name) for pool in pools),
    )


def _pool_names(pools: Sequence[PoolUse]) -> str:
    return f"pool {pools[0].name}" if len(pools) == 1 else count(len(pools), "pool")


def task_limits(facts: CapacityFacts) -> Finding | None:
    """Tasks with ``max_active_tis_per_dag`` or ``max_active_tis_per_dagrun`` below what is cleared."""
    if not facts.task_limits:
        return None
    shown = "; ".join(map(_task_limit, facts.task_limits[:MANY]))
    more = len(facts.task_limits) - MANY
    rest = f"; and {count(more, 'more task')}" if more > 0 else ""
    return Finding(
        "task_limits",
        "info",
        f"{count(len(facts.task_limits), 'task')} {verb(len(facts.task_limits), 'runs', 'run')} "
        "only a few at a time",
        f"{shown}{rest}.",
        sum(item.instances for item in facts.task_limits),
    )


def _task_limit(item: TaskLimit) -> str:
    where = "in one run" if item.setting.endswith("run") else "in all"
    cleared = count(item.instances, "task instance")
    return f"`{item.task_id}`: `{item.setting}` is {item.limit:,}, {cleared} {where}"


CHECKS: tuple[Check[CapacityFacts], ...] = (
    Check("pool_blocks", "pools that are missing or too small", pool_blocks),
    Check("runs_wait", "dag runs that wait for a place to run", runs_wait),
    Check("max_active_tasks", "dag runs of more task instances than may be active", max_active_tasks),
    Check("pool_tight", "pools with too few open slots", pool_tight),
    Check("task_limits", "tasks of which few may be active", task_limits),
)
