"""Finds out what lies around the cleared task instances, and what that makes of them."""

from __future__ import annotations

from safe_clear_plugin.airflow_api import relations
from safe_clear_plugin.airflow_api.dags import Version
from safe_clear_plugin.core.findings.affected import NOTHING
from safe_clear_plugin.core.findings.neighbours import NeighbourFacts
from safe_clear_plugin.core.plan import CLEARED_EFFECTS, MOVED_EFFECTS
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage import consequences, foresight
from safe_clear_plugin.storage import relations as stored


def facts(plan: PlanContext) -> NeighbourFacts:
    """Write how the cleared tasks are related to others and what is foreseen of them, and count it."""
    if _nothing_stays(plan):
        return NeighbourFacts()
    cleared = stored.planned_tasks(plan.plan_id, CLEARED_EFFECTS, plan.session)
    pending = stored.planned_tasks(plan.plan_id, foresight.PENDING_EFFECTS, plan.session)
    for version in plan.versions.values():
        if version.dag is None:
            continue
        _relate_downstream(plan, version, cleared.get(version.id, set()))
        _foresee(plan, version, pending.get(version.id, set()))
    found = {
        code: consequences.affected(code, plan.plan_id, plan.selection.dag_id, plan.session)
        for code in consequences.BEHIND
    }
    blocked = {
        code: consequences.blockers(code, plan.plan_id, plan.selection.dag_id, plan.session)
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


def _relate_downstream(plan: PlanContext, version: Version, cleared: set[str]) -> None:
    """Write what lies downstream of the cleared tasks, as far as something of it is not cleared too."""
    in_dag = [task_id for task_id in version.task_ids if task_id in cleared]
    found = list(relations.downstream_of(version.dag, in_dag))
    ahead = sorted({relation.related_task_id for relation in found})
    kept = stored.untouched_tasks(plan.plan_id, plan.selection.dag_id, version.id, ahead, plan.session)
    wanted = [relation for relation in found if relation.related_task_id in kept]
    stored.write_relations(plan.plan_id, version.id, wanted, plan.session)


def _foresee(plan: PlanContext, version: Version, pending: set[str]) -> None:
    in_dag = [task_id for task_id in version.task_ids if task_id in pending]
    tasks = [task for task_id in in_dag if (task := relations.upstream_of(version.dag, task_id)) is not None]
    for task in tasks:
        stored.write_relations(plan.plan_id, version.id, task.relations, plan.session)
    reach = foresight.Reach(plan.plan_id, plan.selection.dag_id, version.id)
    foresight.foresee(reach, tasks, plan.session)
