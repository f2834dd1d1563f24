"""The status of plans and change sets at one moment, in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, String, and_, case, func, type_coerce

from safe_clear_plugin.core.change_set import STATUS_PRECEDENCE
from safe_clear_plugin.core.plan import PlanStatus, ShownStatus
from safe_clear_plugin.storage.driver.leases import is_missed
from safe_clear_plugin.storage.tables import plan


def shown_status(now: datetime) -> ColumnElement[str]:
    """Return the expression for :meth:`PlanSummary.shown_status`."""
    is_ready = plan.c.status == PlanStatus.READY
    return type_coerce(
        case(
            (and_(is_ready, plan.c.expires_at <= now), ShownStatus.EXPIRED.value),
            (and_(is_ready, plan.c.approval_asked_at.is_not(None)), ShownStatus.WAITING.value),
            (and_(plan.c.status == PlanStatus.APPLYING, is_missed()), ShownStatus.INTERRUPTED.value),
            else_=plan.c.status,
        ),
        String,
    )


def shown_set_status(now: datetime) -> ColumnElement[str]:
    """Return the aggregate over the plans of a set for :func:`~.change_set.status_of`."""
    shown = shown_status(now)
    is_undone = plan.c.status == PlanStatus.UNDONE

    def any_is(condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return func.max(case((condition, 1), else_=0)) == 1

    has_cleared = plan.c.cleared_runs > 0
    all_undone = and_(any_is(has_cleared), ~any_is(and_(has_cleared, ~is_undone)))
    return type_coerce(
        case(
            *((any_is(shown == status), status.value) for status in STATUS_PRECEDENCE),
            (all_undone, ShownStatus.UNDONE.value),
            (any_is(shown == ShownStatus.STOPPED), ShownStatus.STOPPED.value),
            else_=ShownStatus.APPLIED.value,
        ),
        String,
    )
