"""Counts what comes, returns or goes with the DAG version."""

from __future__ import annotations

from safe_clear_plugin.core.findings import VersionFacts
from safe_clear_plugin.services.facts.context import PlanContext


def facts(plan: PlanContext) -> VersionFacts:
    """Count by effect."""
    return VersionFacts(
        created=plan.total("create"),
        restored=plan.total("restore"),
        removed=plan.total("remove"),
        latest_version=plan.latest.number,
        unexpanded=sum(row["map_index"] == -1 != plan.selection.map_index for row in plan.tasks),
    )
