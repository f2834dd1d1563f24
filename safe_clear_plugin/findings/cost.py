"""The task time of the clear, and the moment when it will be done, from past durations of the same tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.wording import join_tasks


@dataclass(frozen=True, slots=True)
class CostFacts:
    """The estimate for a clear at ``now``; ``None`` when the plan starts nothing."""

    estimate: Estimate | None = None
    task_instances: int = 0
    now: datetime | None = None


def collect_facts(plan: PlanContext) -> CostFacts:
    """Take the estimate from the workload."""
    workload = plan.workload
    return CostFacts(
        estimate=workload.estimate,
        task_instances=sum(tasks.instances for tasks in workload.counts),
        now=plan.now,
    )


def cost(facts: CostFacts) -> Finding | None:
    """Report the task time and the likely end."""
    found = facts.estimate
    if found is None:
        return None
    if found.task_seconds is None or found.task_seconds_slow is None:
        return Finding(
            "cost",
            "info",
            "No estimate: none of these tasks succeeded recently",
            f"The last {count(found.runs_looked_at, 'run')} have no success of any of them.",
            facts.task_instances,
        )
    title = f"About {formats.work(found.task_seconds)}"
    successes = formats.verb(found.successes, "success", "successes")
    runs = count(found.runs_looked_at, "run")
    detail = [f"Based on {found.successes:,} {successes} in the last {runs}."]
    slow = formats.work(found.task_seconds_slow)
    if found.seconds is None or found.seconds_slow is None or facts.now is None:
        detail.append(f"90th percentile: {slow}.")
    else:
        title += f", done by about {formats.about(facts.now, found.seconds)} if cleared now"
        detail.append(f"Median: {formats.span(found.seconds)} after clearing.")
        detail.append(f"90th percentile: {formats.span(found.seconds_slow)} ({slow}).")
        if found.held_by:
            detail.append(f"Bottleneck: `{found.held_by}`.")
    if found.unknown_tasks:
        instances = count(found.unknown_task_instances, "task instance")
        tasks = join_tasks(found.unknown_tasks)
        detail.append(f"Not included: {instances} of {tasks} without a recent success.")
    return Finding("cost", "info", title, " ".join(detail), facts.task_instances)


AREA = Area(
    "cost",
    collect_facts,
    (Check("cost", "past durations of the same tasks", cost),),
    has_time_limit=False,
    needs_workload=True,
)
