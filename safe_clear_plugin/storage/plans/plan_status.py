"""How plans stand at one moment, in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, String, and_, case, or_, type_coerce

from safe_clear_plugin.core.plan import HEARTBEAT_TIMEOUT, PlanStatus, ShownStatus
from safe_clear_plugin.storage.tables import plan


def is_interrupted(now: datetime) -> ColumnElement[bool]:
    """Return the condition that says what :meth:`PlanSummary.is_interrupted` does."""
    silent = or_(plan.c.last_step_at.is_(None), plan.c.last_step_at <= now - HEARTBEAT_TIMEOUT)
    return and_(plan.c.status == PlanStatus.APPLYING, silent)


def shown_status(now: datetime) -> ColumnElement[str]:
    """Return the expression that says what :meth:`PlanSummary.shown_status` does."""
    is_ready = plan.c.status == PlanStatus.READY
    return type_coerce(
        case(
            (and_(is_ready, plan.c.expires_at <= now), ShownStatus.EXPIRED.value),
            (and_(is_ready, plan.c.approval_asked_at.is_not(None)), ShownStatus.WAITING.value),
            (is_interrupted(now), ShownStatus.STOPPED.value),
            else_=plan.c.status,
        ),
        String,
    )
