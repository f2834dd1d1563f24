"""Looks for what other operators do with the same task instances."""

from __future__ import annotations

from safe_clear_plugin.core.findings.others import OtherFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage import circumstances


def facts(plan: PlanContext) -> OtherFacts:
    """Read the other plans of the DAG."""
    plans, shared = circumstances.plans_of_others(
        plan.plan_id, plan.selection.dag_id, plan.actor.id, plan.now, plan.session
    )
    return OtherFacts(tuple(plans), shared)
