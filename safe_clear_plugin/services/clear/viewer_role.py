"""What a person can do with a plan that is not confirmed yet."""

from __future__ import annotations

from datetime import datetime

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.confirmation import Requirements
from safe_clear_plugin.core.plan import PlanSummary


class ViewerRole(Code):
    """What the viewer of a ready plan can do with it."""

    EXPIRED = "expired"
    """Nobody can confirm it any more."""
    LOOK = "look"
    """The viewer may not clear the DAG."""
    REFUSED = "refused"
    """Nobody can confirm it."""
    ASK = "ask"
    """The viewer made it, and has to request approval."""
    WAITING = "waiting"
    """The viewer has requested approval."""
    UNASKED = "unasked"
    """The viewer can approve it once its author requests that."""
    APPROVE = "approve"
    CONFIRM = "confirm"


def viewer_role(
    plan: PlanSummary, required: Requirements, actor_id: str, now: datetime, *, may_clear: bool
) -> ViewerRole:
    """Return what the actor can do with a ready plan."""
    if plan.is_expired(now):
        return ViewerRole.EXPIRED
    if not may_clear:
        return ViewerRole.LOOK
    if required.refused:
        return ViewerRole.REFUSED
    if not required.approval:
        return ViewerRole.CONFIRM
    is_requested = plan.approval_asked_at is not None
    if plan.is_author(actor_id):
        return ViewerRole.WAITING if is_requested else ViewerRole.ASK
    return ViewerRole.APPROVE if is_requested else ViewerRole.UNASKED
