"""Counts what comes, returns or goes with the DAG version, and the runs that do not use the latest."""

from __future__ import annotations

from safe_clear_plugin.core.findings import VersionFacts
from safe_clear_plugin.core.findings.versions import OlderVersion
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage.findings import plan_context


def facts(plan: PlanContext) -> VersionFacts:
    """Count by effect, and the runs by the DAG version that they use."""
    return VersionFacts(
        created=plan.total("create"),
        restored=plan.total("restore"),
        removed=plan.total("remove"),
        latest_version=plan.latest.number,
        unexpanded=sum(
            row["map_index"] == -1 != plan.selection.map_index for shape in plan.shapes for row in shape.tasks
        ),
        older=_older(plan),
    )


def _older(plan: PlanContext) -> tuple[OlderVersion, ...]:
    runs = plan_context.runs_by_version(plan.plan_id, plan.session)
    latest = set(plan.latest.task_ids)
    versions = sorted(plan.versions.values(), key=lambda version: -version.number)
    return tuple(
        OlderVersion(
            number=version.number,
            runs=runs[version.id],
            added=tuple(sorted(latest - set(version.task_ids))),
            dropped=tuple(sorted(set(version.task_ids) - latest)),
        )
        for version in versions
        if version.id != plan.latest.id and runs.get(version.id)
    )
