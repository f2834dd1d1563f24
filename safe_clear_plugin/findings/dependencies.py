"""Task instances upstream and downstream of the cleared ones in their own dag runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag import dependencies
from safe_clear_plugin.airflow_api.dag.dependencies import Relation, Upstream
from safe_clear_plugin.airflow_api.dag.task_graph import Shape
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, MOVED_EFFECTS, Effect
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.core.states import state_name
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import INCLUDE_DOWNSTREAM, INCLUDE_UPSTREAM
from safe_clear_plugin.findings.wording import count_states, in_runs, is_or_are, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, predicted_states, task_relations
from safe_clear_plugin.storage.findings.affected_queries import AFFECTED_QUERIES
from safe_clear_plugin.storage.findings.task_relations import PlannedTasks
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import plan_relation


@dataclass(frozen=True, slots=True)
class DependencyFacts:
    """Task instances around the cleared ones, and cleared ones that those keep from running."""

    stale: Affected = NOT_AFFECTED
    """Downstream, not in the plan, succeeded."""
    stays: Affected = NOT_AFFECTED
    """Downstream, not in the plan, finished without success."""
    failed: Affected = NOT_AFFECTED
    """Cleared, and Upstream Failed as soon as the scheduler sees them."""
    failed_by: Affected = NOT_AFFECTED
    """Directly upstream of the failed ones and not cleared."""
    skipped: Affected = NOT_AFFECTED
    waiting: Affected = NOT_AFFECTED
    """Cleared, downstream of unfinished task instances that are not cleared with them."""
    waiting_for: Affected = NOT_AFFECTED


def collect_facts(plan: PlanContext) -> DependencyFacts:
    """Write the relations of the cleared tasks and the predicted states, and count the affected ones."""
    if _clears_whole_runs(plan):
        return DependencyFacts()
    tasks = task_relations.planned_tasks(plan.plan_id, plan.session)
    written = _relate_downstream(plan, tasks) + _predict(plan, tasks)
    statistics.refresh_within(written, (plan_relation,), plan.session)
    of_plan = (plan.plan_id, plan.dag_id, plan.session)
    found = {code: affected_task_instances.count_by_task(code, *of_plan) for code in AFFECTED_QUERIES}
    blocking = {
        code: affected_task_instances.count_blocking(code, *of_plan)
        for code in ("upstream_failed", "upstream_unfinished")
        if found[code].count
    }
    return DependencyFacts(
        stale=found["stale_downstream"],
        stays=found["downstream_stays"],
        failed=found["upstream_failed"],
        failed_by=blocking.get("upstream_failed", NOT_AFFECTED),
        skipped=found["upstream_skipped"],
        waiting=found["upstream_unfinished"],
        waiting_for=blocking.get("upstream_unfinished", NOT_AFFECTED),
    )


def _clears_whole_runs(plan: PlanContext) -> bool:
    """Whether the clear takes every task instance of its runs, so that no others are around them."""
    if plan.total(Effect.LEAVE_OUT, *MOVED_EFFECTS):
        return False
    cleared = plan.total(*CLEARED_EFFECTS)
    return task_relations.takes_whole_runs(plan.plan_id, plan.dag_id, cleared, plan.session)


def _relate_downstream(plan: PlanContext, tasks: Mapping[int, PlannedTasks]) -> int:
    """Write the tasks downstream of the cleared ones that have task instances outside the plan."""
    found: dict[int, list[Relation]] = {}
    for shape in plan.shapes:
        if (planned := tasks.get(shape.number)) and shape.version.dag is not None:
            cleared, everywhere = (_in_dag(shape, ids) for ids in (planned.cleared, planned.everywhere))
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


def _predict(plan: PlanContext, tasks: Mapping[int, PlannedTasks]) -> int:
    """Write the tasks upstream of those that the scheduler will handle, and the states that they lead to."""
    found: dict[int, list[Upstream]] = {}
    for shape in plan.shapes:
        if (planned := tasks.get(shape.number)) and (dag := shape.version.dag) is not None:
            upstream = (dependencies.upstream_of(dag, task_id) for task_id in _in_dag(shape, planned.pending))
            found[shape.number] = [task for task in upstream if task is not None]
    predicted_states.predict(plan.plan_id, plan.dag_id, found, plan.session)
    written = {shape: [r for task in tasks for r in task.relations] for shape, tasks in found.items()}
    return task_relations.write_relations(plan.plan_id, written, plan.session)


def _in_dag(shape: Shape, task_ids: Collection[str]) -> list[str]:
    return [task_id for task_id in shape.version.task_ids if task_id in task_ids]


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
        else f"as they are ({count_states(stays.states)})"
    )
    so = (
        "A run with such a task instance may fail again even if everything that is cleared succeeds."
        if stays.has("failed", "upstream_failed")
        else "They will not run, even if everything that is cleared succeeds."
    )
    return Finding(
        "downstream_stays",
        "warn",
        f"{count(stays.count, 'downstream task instance')} will stay {states}: {join_tasks(stays.tasks)} "
        f"{is_or_are(len(stays.tasks))} not in this plan {in_runs(stays.runs)}",
        f"They finished without success, and clearing their upstream tasks does not start them. {so}",
        stays.count,
        remedy="Include downstream so that they run afterwards.",
        widen=(INCLUDE_DOWNSTREAM,),
        rows=True,
    )


def upstream_failed(facts: DependencyFacts) -> Finding | None:
    """Find cleared task instances that will not run, because an upstream one has failed."""
    failed, by = facts.failed, facts.failed_by
    if not failed.count:
        return None
    are = is_or_are(len(by.tasks))
    cause = (
        f"{verb(failed.count, 'its', 'their')} upstream {join_tasks(by.tasks)} {are} {_states(by)} "
        f"{in_runs(by.runs)} and {are} not in this plan"
        if by.count
        else f"nothing upstream of {verb(failed.count, 'it', 'them')} has succeeded"
    )
    return Finding(
        "upstream_failed",
        "warn",
        f"{count(failed.count, 'cleared task instance')} will fail immediately: {cause}",
        f"Affected: {join_tasks(failed.tasks)}. Because of their trigger rules the scheduler will mark them "
        "Upstream Failed without running them.",
        failed.count,
        remedy="Include upstream so the failed tasks run first.",
        widen=(INCLUDE_UPSTREAM,),
        rows=True,
    )


def upstream_skipped(facts: DependencyFacts) -> Finding | None:
    """Find cleared task instances that the scheduler will skip because of upstream ones."""
    skipped = facts.skipped
    if not skipped.count:
        return None
    return Finding(
        "upstream_skipped",
        "info",
        f"{count(skipped.count, 'cleared task instance')} will be skipped immediately by trigger rule: "
        f"{join_tasks(skipped.tasks)} {in_runs(skipped.runs)}",
        "Upstream task instances outside the plan finished in a state for which the trigger rule skips them, "
        "so they will not run.",
        skipped.count,
        remedy="Include upstream if the upstream tasks should run again.",
        widen=(INCLUDE_UPSTREAM,),
        rows=True,
    )


def upstream_unfinished(facts: DependencyFacts) -> Finding | None:
    """Find cleared task instances that wait for unfinished ones outside the plan."""
    waiting, by = facts.waiting, facts.waiting_for
    if not waiting.count:
        return None
    return Finding(
        "upstream_unfinished",
        "info",
        f"{count(waiting.count, 'cleared task instance')} will wait for unfinished upstream tasks: "
        f"{join_tasks(by.tasks)} {in_runs(by.runs)}",
        f"Upstream and not in this plan: {count_states(by.states)}. The cleared ones start once these have "
        "finished.",
        waiting.count,
        rows=True,
    )


def _states(by: Affected) -> str:
    return " or ".join(state_name(state) for state, _ in by.states)


AREA = Area(
    "dependencies",
    collect_facts,
    (
        Check("stale_downstream", "downstream data that will go stale", stale_downstream, is_grave=True),
        Check("downstream_stays", "downstream task instances that stay Failed or Skipped", downstream_stays),
        Check("upstream_failed", "failed upstream tasks that are not in this plan", upstream_failed),
        Check("upstream_skipped", "task instances that trigger rules will skip", upstream_skipped),
        Check("upstream_unfinished", "unfinished upstream task instances", upstream_unfinished),
    ),
    writes=True,
)
