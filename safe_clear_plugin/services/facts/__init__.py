"""Gathers what the findings are derived from: one module for each of their areas."""

from __future__ import annotations

from safe_clear_plugin.core.findings import Facts
from safe_clear_plugin.services.facts import running, starting, versions
from safe_clear_plugin.services.facts.context import PlanContext

__all__ = ["PlanContext", "gather"]


def gather(plan: PlanContext) -> Facts:
    """Return the facts of a plan whose rows have been written."""
    return Facts(
        running=running.facts(plan),
        starting=starting.facts(plan),
        versions=versions.facts(plan),
    )
