"""From a plan to its findings: collects the facts of each area within the time limit, and runs the checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.joins import look_up_rows
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.findings.area import Area
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.registry import AREAS, checks_without_facts, run_checks
from safe_clear_plugin.findings.time_limit import TimeLimit
from safe_clear_plugin.storage.findings import outcome_writer


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """The findings of a plan."""

    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    """The codes of the checks that did not finish in time."""
    estimate: Estimate | None


def check_plan(plan: PlanContext) -> CheckedPlan:
    """Collect the facts of a plan whose rows are written, and run all checks on them."""
    facts = collect_facts(plan)
    if facts["outcomes"] is None or facts["never_starts"] is None:
        outcome_writer.mark_unknown(plan.plan_id, plan.session)
    return CheckedPlan(
        findings=tuple(run_checks(facts)),
        not_checked=tuple(check.code for check in checks_without_facts(facts)),
        estimate=facts["cost"].estimate if facts["cost"] else None,
    )


def collect_facts(plan: PlanContext) -> Mapping[str, Any]:
    """Return the facts by area, with ``None`` for those that ``findings_timeout`` leaves no time for.

    The workload comes after the areas that can do without it, and after those that write: it leaves out the
    task instances that the scheduler is predicted to end at once.
    """
    facts: dict[str, Any] = {}
    look_up_rows(plan.session)
    with TimeLimit(Budget(config.findings_timeout() or math.inf), plan.session) as limit:
        for area in AREAS:
            if not area.needs_workload:
                facts[area.name] = _collect(area, plan, limit)
        workload = limit.ask(lambda: plan.workload)
        for area in AREAS:
            if area.needs_workload:
                facts[area.name] = _collect(area, plan, limit) if workload else None
    return facts


def _collect(area: Area[Any], plan: PlanContext, limit: TimeLimit) -> Any:
    if not area.has_time_limit:
        return area.collect_facts(plan)
    facts = limit.ask(lambda: area.collect_facts(plan))
    if area.writes:
        limit.keep_writes()
    return facts
