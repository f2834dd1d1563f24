"""Gathers what the findings are derived from: one module for each of their areas."""

from __future__ import annotations

from safe_clear_plugin.core.findings import Facts
from safe_clear_plugin.services.facts import (
    capacity,
    cost,
    deadlines,
    firing,
    limits,
    neighbours,
    others,
    redone,
    running,
    starting,
    versions,
    workload,
)
from safe_clear_plugin.services.facts.context import PlanContext

__all__ = ["PlanContext", "gather"]


def gather(plan: PlanContext) -> Facts:
    """Return the facts of a plan whose rows have been written."""
    around = neighbours.facts(plan)
    # What is foreseen to end at once is no work.
    work = workload.read(plan)
    return Facts(
        limits=limits.facts(plan),
        neighbours=around,
        redone=redone.facts(plan),
        others=others.facts(plan),
        running=running.facts(plan),
        starting=starting.facts(plan, work),
        capacity=capacity.facts(plan, work),
        firing=firing.facts(plan, work),
        cost=cost.facts(plan, work),
        versions=versions.facts(plan),
        deadlines=deadlines.facts(plan),
    )
