"""Counts what is cleared although it is done, and what is cleared in vain."""

from __future__ import annotations

from collections import Counter

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.findings.affected import NOTHING, Affected
from safe_clear_plugin.core.findings.reruns import RedoneFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage.findings import plan_context


def facts(plan: PlanContext) -> RedoneFacts:
    """Count the cleared task instances by state, and those without a task: only whole runs have such."""
    by_state: Counter[str | None] = Counter()
    for change in plan.changes:
        if change.effect in CLEARED_EFFECTS:
            by_state[change.before] += change.count
    states = tuple(sorted(by_state.items(), key=lambda item: (-item[1], item[0] or "")))
    whole_runs = not plan.selection.task_regex
    return RedoneFacts(
        cleared=Affected(count=by_state.total(), runs=plan.dag_runs, states=states),
        gone=plan_context.not_in_dag(plan.plan_id, plan.session) if whole_runs else NOTHING,
    )
