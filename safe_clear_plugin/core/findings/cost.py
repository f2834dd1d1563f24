"""What the clear is likely to cost, by how long the same tasks took before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import MANY, count


@dataclass(frozen=True, slots=True)
class CostFacts:
    """The estimate, for a clear at ``now``; none when the plan starts nothing."""

    estimate: Estimate | None = None
    task_instances: int = 0
    now: datetime | None = None


def cost(facts: CostFacts) -> Finding | None:
    """Task-hours and likely wall time."""
    found = facts.estimate
    if found is None:
        return None
    if found.task_seconds is None or found.task_seconds_slow is None:
        return Finding(
            "cost",
            "info",
            "What this costs is not known",
            f"None of the tasks succeeded in the last {count(found.runs_looked_at, 'dag run')}.",
            facts.task_instances,
        )
    title = f"About {formats.work(found.task_seconds)}"
    successes = formats.verb(found.successes, "success", "successes")
    looked_at = count(found.runs_looked_at, "dag run")
    detail = [f"By the median of {found.successes:,} {successes} in the last {looked_at}."]
    slow = formats.work(found.task_seconds_slow)
    if found.seconds is None or found.seconds_slow is None or facts.now is None:
        detail.append(f"{slow.capitalize()} by the 90th percentile.")
    else:
        title += f", done about {formats.about(facts.now, found.seconds)} if cleared now"
        detail.append(
            f"That is {formats.span(found.seconds)} from the clear on; by the 90th percentile "
            f"{slow} and {formats.span(found.seconds_slow)}."
        )
        if found.held_by:
            detail.append(f"What holds it up most is `{found.held_by}`.")
    detail += _unknown(found)
    return Finding("cost", "info", title, " ".join(detail), facts.task_instances)


def _unknown(found: Estimate) -> list[str]:
    if not (unknown := found.unknown_tasks):
        return []
    names = ", ".join(f"`{task_id}`" for task_id in unknown[:MANY])
    more = f" and {count(len(unknown) - MANY, 'more task')}" if len(unknown) > MANY else ""
    instances = count(found.unknown_task_instances, "task instance")
    return [f"Not counted: {instances} of {names}{more}, which have no recent success to go by."]


CHECKS: tuple[Check[CostFacts], ...] = (Check("cost", "past durations of the same tasks", cost),)
