"""Hands on what the clear is likely to cost."""

from __future__ import annotations

from safe_clear_plugin.core.findings import CostFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.facts.workload import Workload


def facts(plan: PlanContext, workload: Workload) -> CostFacts:
    """Give the estimate its moment."""
    return CostFacts(
        estimate=workload.estimate,
        task_instances=sum(count.instances for count in workload.counts),
        now=plan.now,
    )
