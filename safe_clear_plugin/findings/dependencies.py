"""Task instances downstream of the cleared ones in their own dag runs."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag import dependencies
from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.states import counted_states, state_name
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import INCLUDE_DOWNSTREAM
from safe_clear_plugin.findings.wording import in_runs, is_or_are, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, task_relations
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import plan_relation


@dataclass(frozen=True, slots=True)
class DependencyFacts:
    """Task instances downstream of the cleared ones."""

    stale: Affected = NOT_AFFECTED
    """Downstream, not in the plan, succeeded."""
    stays: Affected = NOT_AFFECTED
    """Downstream, not in the plan, finished without success."""


def collect_facts(plan: PlanContext) -> DependencyFacts:
    """Write what lies downstream of the cleared tasks, and count the affected task instances."""
    if plan.clears_whole_runs:
        return DependencyFacts()
    written = _relate_downstream(plan)
    if not written:
        return DependencyFacts()
    statistics.refresh_within(written, (plan_relation,), plan.session)
    stale, stays = affected_task_instances.count_downstream(plan.plan_id, plan.dag_id, plan.session)
    return DependencyFacts(stale, stays)


def _relate_downstream(plan: PlanContext) -> int:
    """Write the tasks downstream of the cleared ones that have task instances outside the plan."""
    found: dict[int, list[Relation]] = {}
    for shape in plan.shapes:
        if (planned := plan.planned_tasks.get(shape.number)) and shape.version.dag is not None:
            cleared, everywhere = (shape.tasks_among(ids) for ids in (planned.cleared, planned.everywhere))
            found[shape.number] = list(dependencies.downstream_of(shape.version.dag, cleared, everywhere))
    downstream = {relation.task_id for relations in found.values() for relation in relations}
    if not downstream:
        return 0
    kept = task_relations.untouched_tasks(plan.plan_id, plan.dag_id, downstream, plan.session)
    wanted = {
        shape: [relation for relation in relations if relation.task_id in kept.get(shape, ())]
        for shape, relations in found.items()
    }
    return task_relations.write_relations(plan.plan_id, wanted, plan.session)


def stale_downstream(facts: DependencyFacts) -> Finding | None:
    """Find downstream task instances that used output which the clear will replace."""
    stale = facts.stale
    if not stale.count:
        return None
    return Finding(
        "stale_downstream",
        "acknowledge",
        f"{count(stale.count, 'downstream task instance')} will go stale: {join_tasks(stale.tasks)} "
        f"succeeded {in_runs(stale.runs)} and {is_or_are(len(stale.tasks))} not in this plan",
        "They used the output of the cleared tasks. The cleared tasks will write new output, but these will "
        "not re-run, so their own output will be out of date.",
        stale.count,
        remedy="Include downstream, or acknowledge if the new output will be the same or nobody uses theirs.",
        widen=(INCLUDE_DOWNSTREAM,),
        rows=True,
    )


def downstream_stays(facts: DependencyFacts) -> Finding | None:
    """Find downstream task instances that finished without success and keep their state."""
    stays = facts.stays
    if not stays.count:
        return None
    states = (
        state_name(stays.states[0][0])
        if len(stays.states) == 1
        else f"as they are ({counted_states(stays.states)})"
    )
    they, them = verb(stays.count, "It", "They"), verb(stays.count, "it", "them")
    so = (
        "A run with such a task instance may fail again even if everything that is cleared succeeds."
        if stays.has("failed", "upstream_failed")
        else f"{they} will not run, even if everything that is cleared succeeds."
    )
    return Finding(
        "downstream_stays",
        "warn",
        f"{count(stays.count, 'downstream task instance')} will stay {states}: {join_tasks(stays.tasks)} "
        f"{is_or_are(len(stays.tasks))} not in this plan {in_runs(stays.runs)}",
        f"{they} finished without success. Clearing the upstream tasks does not start {them}. {so}",
        stays.count,
        remedy="Include downstream so that they run afterwards.",
        widen=(INCLUDE_DOWNSTREAM,),
        rows=True,
    )


AREA = Area(
    "dependencies",
    collect_facts,
    (
        Check("stale_downstream", "downstream data that will go stale", stale_downstream, is_grave=True),
        Check("downstream_stays", "downstream task instances that stay Failed or Skipped", downstream_stays),
    ),
)
