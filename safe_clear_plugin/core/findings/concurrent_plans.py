"""What other operators do with the same task instances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.findings.finding import Check, Finding, Link
from safe_clear_plugin.core.plan_text import count, moment

LISTED = 5
"""Plans that the finding names; the latest come first."""


@dataclass(frozen=True, slots=True)
class OtherPlan:
    """Somebody else's plan that shares task instances with this one."""

    plan_id: str
    by_name: str
    status: str
    at: datetime
    """When it was made or, once it clears, when it last cleared something."""
    shared: int


@dataclass(frozen=True, slots=True)
class OtherFacts:
    """Open plans and recent clears of others, the latest first."""

    plans: tuple[OtherPlan, ...] = ()
    shared: int = 0
    """Task instances of this plan that are in any of them."""


def other_plan(facts: OtherFacts) -> Finding | None:
    """Another operator is about to clear, or has just cleared, the same task instances."""
    if not facts.plans:
        return None
    plans = facts.plans[:LISTED]
    names = list(dict.fromkeys(plan.by_name for plan in plans))
    who = names[0] if len(names) == 1 else f"{len(names):,} others"
    recent = all(plan.status == "applied" for plan in facts.plans)
    one = facts.shared == 1
    if recent:
        what = f"{'was' if one else 'were'} cleared within the last day"
    else:
        what = f"{'is' if one else 'are'} in another plan"
    more = len(facts.plans) - len(plans)
    listed = " ".join(f"{_said(plan)}." for plan in plans)
    return Finding(
        "other_plan",
        "warn",
        f"{count(facts.shared, 'task instance')} {what}: by {who}",
        listed + (f" And {count(more, 'more plan')}." if more else ""),
        facts.shared,
        remedy="Talk to them first. A plan is refused if somebody else has cleared part of it by then.",
        links=tuple(Link("plan", plan.plan_id, f"plan of {plan.by_name}") for plan in plans),
    )


def _said(plan: OtherPlan) -> str:
    size = count(plan.shared, "task instance")
    return {
        "ready": f"{plan.by_name} made a plan at {moment(plan.at)} that clears {size} of these",
        "applying": f"{plan.by_name} is clearing {size} of these, last at {moment(plan.at)}",
        "stopped": f"{plan.by_name} stopped a clear at {moment(plan.at)} that covers {size} of these",
    }.get(plan.status, f"{plan.by_name} cleared {size} of these at {moment(plan.at)}")


CHECKS: tuple[Check[OtherFacts], ...] = (
    Check("other_plan", "plans and clears of others over the same task instances", other_plan),
)
