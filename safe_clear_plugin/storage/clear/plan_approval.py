"""The decisions about a plan that waits for a second person: each is a compare-and-set on its row."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanStatus, TeamDag
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.tables import plan


def request_approval(
    plan_id: UUID, reason: str, at: datetime, expires_at: datetime, session: Session
) -> bool:
    """Record the request for a second person, and why, unless it is recorded or too late.

    Returns whether it was this that recorded it.
    """
    asked = (
        update(plan)
        .where(
            plan.c.id == plan_id,
            plan.c.status == "ready",
            plan.c.approval_asked_at.is_(None),
            plan.c.expires_at > at,
        )
        .values(approval_asked_at=at, reason=reason, expires_at=expires_at)
    )
    return count_written(asked, session) == 1


def decline(plan_id: UUID, reason: str, actor: Actor, at: datetime, session: Session) -> bool:
    """Decline the plan, if nobody has taken it and it still holds. Returns whether it was this that did."""
    return status.transition(
        plan_id,
        "ready",
        "declined",
        session,
        unexpired_at=at,
        declined_by=actor.id,
        declined_by_name=actor.name,
        declined_at=at,
        decline_reason=reason,
        finished_at=at,
    )


def waiting_dags(actor_id: str, now: datetime, session: Session) -> dict[UUID, set[TeamDag]]:
    """Return the DAGs of each plan or change set of other users that waits for a second person."""
    request = func.coalesce(plan.c.change_set_id, plan.c.id).label("request")
    query = select(request, plan.c.dag_id, plan.c.team_name).where(
        plan.c.status == PlanStatus.READY,
        plan.c.expires_at > now,
        plan.c.approval_asked_at.is_not(None),
        plan.c.created_by != actor_id,
    )
    found: dict[UUID, set[TeamDag]] = {}
    for row in session.execute(query):
        found.setdefault(row.request, set()).add(TeamDag(row.dag_id, row.team_name))
    return found
