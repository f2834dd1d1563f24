"""Finds out what lies around the cleared task instances, and what that makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from safe_clear_plugin.airflow_api import relations
from safe_clear_plugin.airflow_api.dags import Version
from safe_clear_plugin.core.findings.affected import NOTHING
from safe_clear_plugin.core.findings.neighbours import NeighbourFacts
from safe_clear_plugin.core.plan import CLEARED_EFFECTS, MOVED_EFFECTS
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage import consequences, foresight, statistics
from safe_clear_plugin.storage import relations as stored
from safe_clear_plugin.storage.models import plan_relation


def facts(plan: PlanContext) -> NeighbourFacts:
    """Write how the cleared tasks are related to others and what is foreseen of them, and count it."""
    if _nothing_stays(plan):
        return NeighbourFacts()
    written = _relate_downstream(plan) + _foresee(plan)
    statistics.refresh_within(written, (plan_relation,), plan.session)
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


def _relate_downstream(plan: PlanContext) -> int:
    """Write what lies downstream of the cleared tasks, as far as something of it is not cleared too."""
    cleared = stored.planned_tasks(plan.plan_id, CLEARED_EFFECTS, plan.session)
    found = {
        shape: list(relations.downstream_of(version.dag, task_ids))
        for shape, version, task_ids in _of_shapes(plan, cleared)
    }
    ahead = {relation.task_id for related in found.values() for relation in related}
    if not ahead:
        return 0
    kept = stored.untouched_tasks(plan.plan_id, plan.selection.dag_id, ahead, plan.session)
    wanted = {
        shape: [relation for relation in related if relation.task_id in kept.get(shape, ())]
        for shape, related in found.items()
    }
    return stored.write_relations(plan.plan_id, wanted, plan.session)


def _foresee(plan: PlanContext) -> int:
    """Write what lies upstream of the tasks that the scheduler looks at, and what it makes of them."""
    pending = stored.planned_tasks(plan.plan_id, foresight.PENDING_EFFECTS, plan.session)
    tasks = {
        shape: [task for id_ in task_ids if (task := relations.upstream_of(version.dag, id_)) is not None]
        for shape, version, task_ids in _of_shapes(plan, pending)
    }
    foresight.foresee(plan.plan_id, plan.selection.dag_id, tasks, plan.session)
    written = {shape: [r for task in found for r in task.relations] for shape, found in tasks.items()}
    return stored.write_relations(plan.plan_id, written, plan.session)


def _of_shapes(
    plan: PlanContext, task_ids: Mapping[int, set[str]]
) -> Iterator[tuple[int, Version, list[str]]]:
    """Yield each shape with a version that stands for it, and those of the tasks that it has."""
    for shape in plan.shapes:
        if shape.version.dag is not None and (wanted := task_ids.get(shape.number)):
            yield shape.number, shape.version, [id_ for id_ in shape.version.task_ids if id_ in wanted]
