"""When a plan is likely to be done, as the fact at its top says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.web.app import moments

BLOCKED = {
    "dag_paused": "not while the Dag is paused",
    "dag_stale": "not while the Dag is missing from its files",
    "backfill_paused": "not while the backfill is paused",
    "pool_blocks": "not while a pool has too few slots",
    "max_active_tasks": "not while max_active_tasks is 0",
    "runs_wait": "not while max_active_runs is 0",
}
"""Why the end cannot be told although the durations can, by the finding that says so."""


@dataclass(frozen=True, slots=True)
class LikelyDone:
    """``figure`` stands large, ``unit`` small beside it, ``note`` below."""

    figure: str
    unit: str
    note: str


def likely_done(plan: PlanSummary, now: datetime) -> LikelyDone:
    """Say when the plan would be done if it were cleared now."""
    found = plan.estimate
    if found is None and "cost" in plan.findings_not_checked:
        return LikelyDone("Unknown", "", "the estimate took too long")
    if found is None:
        return LikelyDone("Unknown", "", "nothing will start")
    if found.task_seconds is None:
        return LikelyDone("Unknown", "", "no recent success to estimate from")
    work = formats.work(found.task_seconds)
    if found.seconds is None or found.seconds_slow is None:
        codes = {finding.code for finding in plan.findings}
        why = next(
            (text for code, text in BLOCKED.items() if code in codes), "some task instances will not start"
        )
        return LikelyDone("Unknown", "", f"{why}; {work}")
    then = now + timedelta(seconds=found.seconds)
    day = "" if then.date() == now.date() else f" {moments.when_day(then, now)}"
    slow = formats.about(now, found.seconds_slow)
    slowly = f"; by {slow} if tasks are slow" if slow != formats.about(now, found.seconds) else ""
    rest = "; some tasks are not counted" if found.unknown_tasks else ""
    return LikelyDone(f"{then:%H:%M}", f"UTC{day}", f"{work}{slowly}{rest}")
