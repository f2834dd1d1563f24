"""Looks for what other operators do with the same task instances."""

from __future__ import annotations

from safe_clear_plugin.core.findings.concurrent_plans import OtherFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage.findings import plan_context


def facts(plan: PlanContext) -> OtherFacts:
    """Read the other plans of the DAG."""
    plans, shared = plan_context.plans_of_others(
        plan.plan_id, plan.selection.dag_id, plan.actor.id, plan.now, plan.session
    )
    return OtherFacts(tuple(plans), shared)
