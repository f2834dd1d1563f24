"""Drafts: plans that nobody confirmed or was asked to approve."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.storage.tables import plan


def discard(plan_id: UUID, actor: Actor, expired_at: datetime, session: Session) -> bool:
    """Set a draft's expiry so far back that it is removed. Return whether the plan was the actor's draft.

    Like its confirmation, this is a compare-and-set on its row: the first of both decides.
    """
    discarded = (
        update(plan)
        .where(
            plan.c.id == plan_id,
            plan.c.status == PlanStatus.READY,
            plan.c.created_by == actor.id,
            plan.c.approval_asked_at.is_(None),
            plan.c.applied_at.is_(None),
        )
        .values(expires_at=expired_at)
    )
    return count_written(discarded, session) == 1
