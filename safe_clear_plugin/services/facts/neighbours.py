"""Finds out what lies around the cleared task instances, and what that makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from safe_clear_plugin.airflow_api.dag import dependencies
from safe_clear_plugin.airflow_api.dag.dependencies import Relation, Upstream
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, MOVED_EFFECTS
from safe_clear_plugin.core.findings.affected import NOTHING
from safe_clear_plugin.core.findings.dependencies import NeighbourFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.planning.shapes import Shape
from safe_clear_plugin.storage.findings import affected_task_instances, predicted_states
from safe_clear_plugin.storage.findings import task_relations as stored
from safe_clear_plugin.storage.findings.task_relations import PlannedTasks
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import plan_relation


def facts(plan: PlanContext) -> NeighbourFacts:
    """Write how the cleared tasks are related to others and what is foreseen of them, and count it."""
    if _nothing_stays(plan):
        return NeighbourFacts()
    tasks = stored.planned_tasks(plan.plan_id, plan.session)
    written = _relate_downstream(plan, tasks) + _foresee(plan, tasks)
    statistics.refresh_within(written, (plan_relation,), plan.session)
    found = {
        code: affected_task_instances.affected(code, plan.plan_id, plan.selection.dag_id, plan.session)
        for code in affected_task_instances.BEHIND
    }
    blocked = {
        code: affected_task_instances.blockers(code, plan.plan_id, plan.selection.dag_id, plan.session)
        for code in ("upstream_failed", "upstream_unfinished")
        if found[code].count
    }
    return NeighbourFacts(
        stale=found["stale_downstream"],
        stays=found["downstream_stays"],
        failed=found["upstream_failed"],
        failed_by=blocked.get("upstream_failed", NOTHING),
        skipped=found["upstream_skipped"],
        waiting=found["upstream_unfinished"],
        waiting_for=blocked.get("upstream_unfinished", NOTHING),
    )


def _nothing_stays(plan: PlanContext) -> bool:
    """Whether the clear starts the runs anew as a whole, so that nothing in them has neighbours that stay."""
    if plan.total("leave_out", *MOVED_EFFECTS):
        return False
    cleared = plan.total(*CLEARED_EFFECTS)
    return stored.takes_whole_runs(plan.plan_id, plan.selection.dag_id, cleared, plan.session)


def _relate_downstream(plan: PlanContext, tasks: Mapping[int, PlannedTasks]) -> int:
    """Write what lies downstream of the cleared tasks, as far as something of it is not cleared too."""
    found: dict[int, list[Relation]] = {}
    for shape in plan.shapes:
        if (planned := tasks.get(shape.number)) and shape.version.dag is not None:
            cleared, everywhere = (_in_dag(shape, ids) for ids in (planned.cleared, planned.everywhere))
            found[shape.number] = list(dependencies.downstream_of(shape.version.dag, cleared, everywhere))
    ahead = {relation.task_id for related in found.values() for relation in related}
    if not ahead:
        return 0
    kept = stored.untouched_tasks(plan.plan_id, plan.selection.dag_id, ahead, plan.session)
    wanted = {
        shape: [relation for relation in related if relation.task_id in kept.get(shape, ())]
        for shape, related in found.items()
    }
    return stored.write_relations(plan.plan_id, wanted, plan.session)


def _foresee(plan: PlanContext, tasks: Mapping[int, PlannedTasks]) -> int:
    """Write what lies upstream of the tasks that the scheduler looks at, and what it makes of them."""
    found: dict[int, list[Upstream]] = {}
    for shape in plan.shapes:
        if (planned := tasks.get(shape.number)) and (dag := shape.version.dag) is not None:
            upstream = (dependencies.upstream_of(dag, task_id) for task_id in _in_dag(shape, planned.pending))
            found[shape.number] = [task for task in upstream if task is not None]
    predicted_states.foresee(plan.plan_id, plan.selection.dag_id, found, plan.session)
    written = {shape: [r for task in tasks for r in task.relations] for shape, tasks in found.items()}
    return stored.write_relations(plan.plan_id, written, plan.session)


def _in_dag(shape: Shape, task_ids: Collection[str]) -> list[str]:
    return [task_id for task_id in shape.version.task_ids if task_id in task_ids]
