"""The outcomes of the cleared task instances, written to the plan's rows, which other areas read."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.states import counted_states, state_name
from safe_clear_plugin.findings import deciding_tasks
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.deciding_tasks import DecidingTasks
from safe_clear_plugin.findings.suggested_changes import INCLUDE_UPSTREAM
from safe_clear_plugin.findings.wording import in_runs, is_or_are, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, predicted_states, task_relations
from safe_clear_plugin.storage.findings.affected_queries import UPSTREAM_CODES
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import plan_relation


@dataclass(frozen=True, slots=True)
class OutcomeFacts:
    """Cleared task instances that will not run, or not at once, because of those upstream of them."""

    failed: Affected = NOT_AFFECTED
    """Cleared, and Upstream Failed as soon as the scheduler sees them."""
    failed_by: Affected = NOT_AFFECTED
    """Directly upstream of the failed ones and not cleared."""
    skipped: Affected = NOT_AFFECTED
    waiting: Affected = NOT_AFFECTED
    """Cleared, downstream of unfinished task instances that are not cleared with them."""
    waiting_for: Affected = NOT_AFFECTED


def collect_facts(plan: PlanContext) -> OutcomeFacts:
    """Write the outcomes, and count the task instances whose outcome what lies upstream decides."""
    found = deciding_tasks.find(plan)
    written, any_ends = _predict(plan, found) if found.deciders or not plan.clears_whole_runs else (0, False)
    deciding_tasks.write_later_outcomes(plan, found)
    if plan.clears_whole_runs:
        return OutcomeFacts()
    statistics.refresh_within(written, (plan_relation,), plan.session)
    of_plan = (plan.plan_id, plan.dag_id, plan.session)
    with hash_joins(plan.session):
        affected = {
            code: affected_task_instances.count_by_task(code, *of_plan)
            for code in (UPSTREAM_CODES if any_ends else ("upstream_unfinished",))
        }
        blocking = {
            code: affected_task_instances.count_blocking(code, *of_plan)
            for code in ("upstream_failed", "upstream_unfinished")
            if code in affected and affected[code].count
        }
    return OutcomeFacts(
        failed=affected.get("upstream_failed", NOT_AFFECTED),
        failed_by=blocking.get("upstream_failed", NOT_AFFECTED),
        skipped=affected.get("upstream_skipped", NOT_AFFECTED),
        waiting=affected["upstream_unfinished"],
        waiting_for=blocking.get("upstream_unfinished", NOT_AFFECTED),
    )


def _predict(plan: PlanContext, deciding: DecidingTasks) -> tuple[int, bool]:
    """Write the tasks upstream of task instances that the scheduler will handle, and the states that follow.

    Return the number of relations written, and whether trigger rules end any task instance at once.
    """
    decisions = deciding_tasks.decisions(plan, deciding)
    of_plan = (plan.plan_id, plan.dag_id, plan.upstream, decisions, plan.session)
    any_ends = predicted_states.predict(*of_plan, whole_runs=plan.clears_whole_runs)
    if plan.total(Effect.SCHEDULER_CREATES):
        predicted_states.drop_unexpanded(plan.plan_id, plan.session)
    written = deciding_tasks.write_relations(plan, decisions)
    if not plan.clears_whole_runs:
        by_shape = {
            shape: [r for task in tasks for r in task.relations] for shape, tasks in plan.upstream.items()
        }
        written += task_relations.write_relations(plan.plan_id, by_shape, plan.session)
    return written, any_ends


def upstream_failed(facts: OutcomeFacts) -> Finding | None:
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


def upstream_skipped(facts: OutcomeFacts) -> Finding | None:
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


def upstream_unfinished(facts: OutcomeFacts) -> Finding | None:
    """Find cleared task instances that wait for unfinished ones outside the plan."""
    waiting, by = facts.waiting, facts.waiting_for
    if not waiting.count:
        return None
    return Finding(
        "upstream_unfinished",
        "info",
        f"{count(waiting.count, 'cleared task instance')} will wait for unfinished upstream tasks: "
        f"{join_tasks(by.tasks)} {in_runs(by.runs)}",
        f"Upstream and not in this plan: {counted_states(by.states)}. The cleared ones start once these have "
        "finished.",
        waiting.count,
        rows=True,
    )


def _states(by: Affected) -> str:
    return " or ".join(state_name(state) for state, _ in by.states)


AREA = Area(
    "outcomes",
    collect_facts,
    (
        Check("upstream_failed", "failed upstream tasks that are not in this plan", upstream_failed),
        Check("upstream_skipped", "task instances that trigger rules will skip", upstream_skipped),
        Check("upstream_unfinished", "unfinished upstream task instances", upstream_unfinished),
    ),
    writes=True,
)
