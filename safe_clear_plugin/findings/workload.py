"""The work that a plan gives the scheduler, and the limits on how much of it may run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import teams
from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.scheduling import capacity, pool_slots, task_durations
from safe_clear_plugin.core.estimate import Concurrency, Estimate, RunQueue, TaskLoad, estimate
from safe_clear_plugin.storage.rows import plan_tables


@dataclass(frozen=True)
class Workload:
    """The cleared tasks by DAG version, and the limits on them. Nothing grows with the rows."""

    tables: PlanTables
    dag: Any
    """The DAG's row."""
    team: str | None
    """The team that the DAG belongs to, where Airflow runs for several."""
    versions: Mapping[UUID, Version]
    counts: Sequence[capacity.TaskCount]
    groups: Sequence[capacity.RunGroup]
    pools: Mapping[str, pool_slots.PoolSlots]
    estimate: Estimate | None
    """``None`` when the plan gives the scheduler nothing to do."""

    def max_active_runs(self, group: capacity.RunGroup) -> int:
        """Return how many runs of the group may be active."""
        return (group.limit if group.backfill_id is not None else self.dag.max_active_runs) or 0

    def task(self, count: capacity.TaskCount) -> Any:
        """Return the task in its DAG version, or ``None`` if the version does not have it."""
        return task_in_version(count, self.versions)


def read_workload(
    plan_id: UUID,
    dag_id: str,
    versions: Mapping[UUID, Version],
    limits: Mapping[str, pool_slots.PoolLimits],
    *,
    now: datetime,
    session: Session,
) -> Workload:
    """Read what the scheduler will have to do with the plan."""
    tables = plan_tables(plan_id)
    counts = capacity.task_counts(tables, session)
    groups = capacity.run_groups(tables, dag_id, session)
    dag = dag_versions.get_dag_model(dag_id, session)
    loads = [load for count in counts if (load := _task_load(count, versions)) is not None]
    tasks = [task for count in counts if (task := task_in_version(count, versions)) is not None]
    used = {name: limits[name] for name in {task.pool for task in tasks} if name in limits}
    pools = pool_slots.pools(used, session)
    team = teams.team_of(dag_id, session)
    workload = Workload(tables, dag, team, versions, counts, groups, pools, None)
    if not loads:
        return workload
    expected = _estimate(workload, loads, dag_id, now, session)
    return replace(workload, estimate=expected)


def task_in_version(count: capacity.TaskCount, versions: Mapping[UUID, Version]) -> Any:
    """Return the task in its DAG version; ``None`` if the version lacks it, or Airflow lacks the version."""
    version = versions.get(count.version)
    return version.dag.task_dict.get(count.task_id) if version and version.dag else None


def _task_load(count: capacity.TaskCount, versions: Mapping[UUID, Version]) -> TaskLoad | None:
    task = task_in_version(count, versions)
    if task is None or not count.instances:
        return None
    return TaskLoad(
        version=str(count.version),
        task_id=count.task_id,
        runs=count.runs,
        instances=count.instances,
        upstream=frozenset(task.upstream_task_ids),
        pool=task.pool,
        pool_slots=task.pool_slots,
        depends_on_past=bool(task.depends_on_past),
        per_dag=task.max_active_tis_per_dag,
        per_run=task.max_active_tis_per_dagrun,
    )


def _estimate(
    workload: Workload, loads: Sequence[TaskLoad], dag_id: str, now: datetime, session: Session
) -> Estimate:
    task_ids = {load.task_id for load in loads}
    past = task_durations.history(dag_id, task_ids, now, session)
    runs = capacity.runs_by_version(workload.tables, session)
    return estimate(
        loads,
        past.durations,
        _concurrency(workload),
        runs={str(version): count for version, count in runs.items()},
        runs_looked_at=past.runs,
        ends=_everything_starts(workload, loads),
    )


def _concurrency(workload: Workload) -> Concurrency:
    return Concurrency(
        queues=tuple(
            RunQueue(group.to_queue + group.running, workload.max_active_runs(group) - group.others_running)
            for group in workload.groups
        ),
        per_run=workload.dag.max_active_tasks,
        pools={name: pool.total for name, pool in workload.pools.items()},
        executor=capacity.parallelism(),
    )


def _everything_starts(workload: Workload, loads: Sequence[TaskLoad]) -> bool:
    """Whether the limits let every task instance start at some time, and none of them waits forever."""
    dag = workload.dag
    if any(count.never_start or count.never_end for count in workload.counts):
        return False
    if dag.is_paused or dag.is_stale or dag.max_active_tasks <= 0:
        return False
    if any(
        group.to_queue and (group.paused or workload.max_active_runs(group) <= 0) for group in workload.groups
    ):
        return False
    return all(
        load.pool in workload.pools and workload.pools[load.pool].has_room(load.pool_slots, workload.team)
        for load in loads
    )
