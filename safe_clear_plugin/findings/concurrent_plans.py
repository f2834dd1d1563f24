"""Plans and clears of other users over the same task instances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import count, moment, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.storage.tables import plan_task_instance

RECENT = timedelta(hours=24)
"""The age up to which another user's clear counts."""
FRESH = timedelta(minutes=5)
"""The age up to which an unconfirmed preview counts: most previews are never confirmed."""
MAX_PLANS = 20
"""Other plans to compare with, the latest first."""
MAX_LISTED = 5
"""Other plans that the finding names, the latest first."""


@dataclass(frozen=True, slots=True)
class OtherPlan:
    """Another user's plan that shares task instances with this one."""

    plan_id: str
    by_name: str
    status: str
    """``waiting`` for a plan that waits for approval."""
    at: datetime
    """When it was made, or when its clear last committed a batch."""
    shared: int


@dataclass(frozen=True, slots=True)
class ConcurrentPlanFacts:
    """Open plans and recent clears of others, the latest first."""

    plans: tuple[OtherPlan, ...] = ()
    shared: int = 0
    """Task instances of this plan that are in any of them."""


def collect_facts(plan: PlanContext) -> ConcurrentPlanFacts:
    """Read the other plans of the DAG."""
    others = other_plans(plan.plan_id, plan.dag_id, plan.actor.id, plan.now, plan.session)
    shared = _count_shared(plan.plan_id, [UUID(other.plan_id) for other in others], plan.session)
    return ConcurrentPlanFacts(tuple(others), shared)


def other_plans(
    plan_id: UUID, dag_id: str, actor_id: str, now: datetime, session: Session
) -> list[OtherPlan]:
    """Return open plans and recent clears of others that share task instances with a plan."""
    plan = plan_table
    others = session.execute(
        select(plan.c.id, _status().label("status"), plan.c.created_at, plan.c.last_step_at)
        .add_columns(func.coalesce(plan.c.applied_by_name, plan.c.created_by_name).label("by_name"))
        .where(plan.c.dag_id == dag_id, plan.c.id != plan_id, _is_of_others(actor_id, now))
        # Clears come before open plans.
        .order_by(case((plan.c.status == "ready", 1), else_=0), plan.c.approval_asked_at.is_(None))
        .order_by(plan.c.created_at.desc())
        .limit(MAX_PLANS)
    ).all()
    found = [
        OtherPlan(
            plan_id=row.id.hex,
            by_name=row.by_name,
            status=row.status,
            at=row.last_step_at or row.created_at,
            shared=_count_shared(plan_id, [row.id], session),
        )
        for row in others
    ]
    return [other for other in found if other.shared]


def _status() -> ColumnElement[str]:
    plan = plan_table
    is_waiting = and_(plan.c.status == "ready", plan.c.approval_asked_at.is_not(None))
    return case((is_waiting, "waiting"), else_=plan.c.status)


def _is_of_others(actor_id: str, now: datetime) -> ColumnElement[bool]:
    plan = plan_table
    open_plan = and_(
        plan.c.status == "ready",
        plan.c.expires_at > now,
        plan.c.created_by != actor_id,
        or_(plan.c.approval_asked_at.is_not(None), plan.c.created_at > now - FRESH),
    )
    recent_clear = and_(
        plan.c.status.in_(("applying", "stopped", "applied")),
        plan.c.last_step_at >= now - RECENT,
        plan.c.applied_by != actor_id,
        or_(plan.c.status == "applying", plan.c.cleared > plan.c.put_back + plan.c.stayed),
    )
    return or_(open_plan, recent_clear)


def _count_shared(plan_id: UUID, others: list[UUID], session: Session) -> int:
    """Count the task instances that the plan clears and one of the others clears too."""
    rows, theirs = plan_task_instance, plan_task_instance.alias("theirs")
    shared = (
        select(theirs.c.run_id)
        .where(
            theirs.c.plan_id.in_(others),
            theirs.c.effect.in_(CLEARED_EFFECTS),
            *(theirs.c[name] == rows.c[name] for name in ("run_id", "task_id", "map_index")),
        )
        .exists()
    )
    mine = (rows.c.plan_id == plan_id, rows.c.effect.in_(CLEARED_EFFECTS))
    return session.scalar(select(func.count()).where(*mine, shared)) or 0


def other_plan(facts: ConcurrentPlanFacts) -> Finding | None:
    """Find another user who is about to clear, or has just cleared, the same task instances."""
    if not facts.plans:
        return None
    plans = facts.plans[:MAX_LISTED]
    names = list(dict.fromkeys(plan.by_name for plan in plans))
    who = names[0] if len(names) == 1 else f"{len(names):,} others"
    if all(plan.status == "applied" for plan in facts.plans):
        what = f"{verb(facts.shared, 'was', 'were')} cleared within the last day by {who}"
    else:
        what = f"{verb(facts.shared, 'is', 'are')} also in a plan by {who}"
    more = len(facts.plans) - len(plans)
    listed = " ".join(_describe(plan) for plan in plans)
    return Finding(
        "other_plan",
        "warn",
        f"{count(facts.shared, 'task instance')} {what}",
        listed + (f" There {verb(more, 'is', 'are')} {count(more, 'more plan')}." if more else ""),
        facts.shared,
        remedy="Talk to them first. Once somebody else clears a part of this plan, it can't be applied.",
        links=tuple(Link("plan", plan.plan_id, f"plan by {plan.by_name}") for plan in plans),
    )


def _describe(plan: OtherPlan) -> str:
    size, at = count(plan.shared, "task instance"), moment(plan.at)
    return {
        "waiting": f"{plan.by_name} asks for approval to clear {size} of these, in a plan of {at}.",
        "ready": f"{plan.by_name} previewed a clear of {size} of these at {at}.",
        "applying": f"{plan.by_name} is clearing {size} of these, last at {at}.",
        "stopped": f"{plan.by_name} stopped a clear of {size} of these at {at}.",
    }.get(plan.status, f"{plan.by_name} cleared {size} of these at {at}.")


AREA = Area(
    "concurrent_plans",
    collect_facts,
    (Check("other_plan", "plans and clears of others over the same task instances", other_plan),),
)
