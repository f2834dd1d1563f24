"""All areas and checks, in the order in which a page lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.findings import (
    callbacks,
    capacity,
    concurrent_plans,
    cost,
    deadline_alerts,
    deadlines,
    decisions,
    dependencies,
    limits,
    never_starts,
    not_checked,
    outcomes,
    pools,
    reruns,
    running,
    scheduler_changes,
    scheduler_order,
    scheduling,
    setups,
    side_effects,
    stopped_runs,
    stored_state,
    stuck_runs,
    stuck_tasks,
    triggered_runs,
    versions,
)
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.task_lists import TaskList

AREAS: tuple[Area[Any], ...] = (
    limits.AREA,
    dependencies.AREA,
    stuck_runs.AREA,
    outcomes.AREA,
    stuck_tasks.AREA,
    stopped_runs.AREA,
    setups.AREA,
    never_starts.AREA,
    decisions.AREA,
    stored_state.AREA,
    reruns.AREA,
    concurrent_plans.AREA,
    running.AREA,
    scheduling.AREA,
    scheduler_order.AREA,
    pools.AREA,
    capacity.AREA,
    side_effects.AREA,
    triggered_runs.AREA,
    callbacks.AREA,
    cost.AREA,
    versions.AREA,
    scheduler_changes.AREA,
    deadlines.AREA,
    deadline_alerts.AREA,
)

CHECKS: tuple[Check[Any], ...] = (
    not_checked.CHECK,
    *(check for area in AREAS for check in area.checks),
)

TASK_LISTS: Mapping[str, TaskList] = {
    "task_limits": capacity.TASK_LIST,
    **side_effects.TASK_LISTS,
    "callbacks": callbacks.TASK_LIST,
}
"""The findings whose task instances are those of some tasks, by code."""


def run_checks(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the findings about facts by area name, where ``None`` means: not collected in time."""
    unknown = checks_without_facts(facts)
    if (finding := not_checked.CHECK.rule(unknown)) is not None:
        yield finding
    for area in AREAS:
        if (known := facts.get(area.name)) is not None:
            yield from (found for check in area.checks if (found := check.rule(known)) is not None)


def checks_without_facts(facts: Mapping[str, Any]) -> tuple[Check[Any], ...]:
    """Return the checks of the areas whose facts were not collected in time."""
    return tuple(check for area in AREAS if facts.get(area.name, ...) is None for check in area.checks)
