"""What a plan gives the scheduler to do, against what it may do at a time: read once, for several areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.scheduling import capacity, task_durations
from safe_clear_plugin.core.estimate import Estimate, Lane, Limits, Step, estimate
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


@dataclass(frozen=True)
class Workload:
    """The cleared tasks by DAG version, and the limits that concern them; nothing grows with the rows."""

    planned: capacity.Planned
    dag: Any
    """The DAG's row."""
    counts: Sequence[capacity.TaskCount]
    groups: Sequence[capacity.RunGroup]
    pools: Mapping[str, capacity.PoolSlots]
    estimate: Estimate | None
    """``None`` when the plan gives the scheduler nothing to do."""

    def places(self, group: capacity.RunGroup) -> int:
        """Return how many runs of the group may be active."""
        return (group.limit if group.backfill_id is not None else self.dag.max_active_runs) or 0


def read(plan: PlanContext) -> Workload:
    """Read what the scheduler will have to do with the plan."""
    planned = capacity.Planned(plan.plan_id, plan_run, plan_task_instance)
    counts = capacity.task_counts(planned, plan.session)
    groups = capacity.run_groups(planned, plan.selection.dag_id, plan.session)
    dag = dag_versions.get_dag_model(plan.selection.dag_id, plan.session)
    steps = [step for count in counts if (step := _step(count, plan)) is not None]
    pools = capacity.pools({step.pool for step in steps}, plan.session)
    workload = Workload(planned, dag, counts, groups, pools, None)
    if not steps:
        return workload
    return Workload(planned, dag, counts, groups, pools, _estimate(plan, workload, steps))


def task_of(count: capacity.TaskCount, plan: PlanContext) -> Any:
    """Return the task in its DAG version, or ``None`` when that does not have it."""
    version = plan.versions[count.version]
    return version.dag.task_dict.get(count.task_id) if version.dag else None


def _step(count: capacity.TaskCount, plan: PlanContext) -> Step | None:
    task = task_of(count, plan)
    if task is None:
        return None
    return Step(
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


def _estimate(plan: PlanContext, workload: Workload, steps: Sequence[Step]) -> Estimate:
    task_ids = {step.task_id for step in steps}
    past = task_durations.history(plan.selection.dag_id, task_ids, plan.now, plan.session)
    runs = capacity.runs_by_version(workload.planned, plan.session)
    return estimate(
        steps,
        past.durations,
        _limits(workload),
        runs={str(version): count for version, count in runs.items()},
        runs_looked_at=past.runs,
        ends=_ends(workload, steps),
    )


def _limits(workload: Workload) -> Limits:
    return Limits(
        lanes=tuple(
            Lane(group.to_queue + group.running, workload.places(group) - group.others_running)
            for group in workload.groups
        ),
        per_run=workload.dag.max_active_tasks,
        pools={name: pool.total for name, pool in workload.pools.items()},
        executor=capacity.parallelism(),
    )


def _ends(workload: Workload, steps: Sequence[Step]) -> bool:
    """Whether everything starts some time, as far as the limits go."""
    dag = workload.dag
    if dag.is_paused or dag.is_stale or dag.max_active_tasks <= 0:
        return False
    if any(group.to_queue and (group.paused or workload.places(group) <= 0) for group in workload.groups):
        return False
    return all(
        step.pool in workload.pools and 0 < workload.pools[step.pool].total >= step.pool_slots
        for step in steps
    )
