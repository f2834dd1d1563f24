"""Task instances that stay in scheduled: no executor or pool takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from safe_clear_plugin.airflow_api.auth import teams
from safe_clear_plugin.airflow_api.scheduling import executors
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, join_some
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.wording import in_runs, is_or_are
from safe_clear_plugin.storage.findings import stuck_runs
from safe_clear_plugin.storage.findings.stuck_runs import NOTHING_STUCK, Stuck


@dataclass(frozen=True, slots=True)
class StuckTaskFacts:
    """Task instances whose executor is not configured; those without a pool are facts of the pools."""

    stuck: Stuck = NOTHING_STUCK
    executors: tuple[str, ...] = ()


def collect_facts(plan: PlanContext) -> StuckTaskFacts:
    """Write that tasks never start for which there is no executor or no room in their pool."""
    team = teams.team_of(plan.dag_id, plan.session)
    _mark_without_pool(plan, team)
    asked = {task.executor for task in plan.tasks if task.executor}
    unknown = executors.unknown_executors(asked, team)
    if not unknown:
        return StuckTaskFacts()
    stuck = _mark(plan, lambda task: task.executor in unknown, OutcomeReason.EXECUTOR)
    return StuckTaskFacts(stuck, tuple(sorted(unknown)))


def _mark_without_pool(plan: PlanContext, team: str | None) -> None:
    def has_no_room(task: Any) -> bool:
        pool = plan.pools.get(task.pool)
        return pool is None or not pool.when_empty.has_room(task.pool_slots, team)

    _mark(plan, has_no_room, OutcomeReason.POOL)


def _mark(plan: PlanContext, is_stuck: Callable[[Any], bool], reason: OutcomeReason) -> Stuck:
    found: Mapping[UUID, frozenset[str]] = {
        version.id: tasks
        for version in plan.versions.values()
        if version.dag is not None
        and (tasks := frozenset(task.task_id for task in version.dag.tasks if is_stuck(task)))
    }
    return stuck_runs.mark_tasks(plan.plan_id, found, reason, plan.session) if found else NOTHING_STUCK


def executor_missing(facts: StuckTaskFacts) -> Finding | None:
    """Find executors that no scheduler has: ``_try_to_load_executor`` leaves their tasks in scheduled."""
    stuck, names = facts.stuck, facts.executors
    if not stuck.task_instances:
        return None
    listed = join_some([f"`{name}`" for name in names], "executor")
    return Finding(
        "executor_missing",
        "warn",
        f"{count(stuck.task_instances, 'task instance')} can never start {in_runs(stuck.runs)}: executor "
        f"{listed} {is_or_are(len(names))} not configured",
        "The scheduler leaves a task instance in Scheduled as long as its executor is not among those of "
        "`[core] executor`. Its Dag run does not finish either.",
        stuck.task_instances,
        remedy="Add the executor to `[core] executor`, or give the task another one and clear with the "
        "latest version.",
        rows=True,
    )


AREA = Area(
    "stuck_tasks",
    collect_facts,
    (Check("executor_missing", "executors that are not configured", executor_missing),),
    writes=True,
)
