"""The role of a person towards a plan that is not confirmed yet."""

from __future__ import annotations

from datetime import datetime

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import SetRequirements
from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.confirmation import Requirements
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus


class ViewerRole(Code):
    """The role of the viewer of a ready plan."""

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
    MEMBER = "member"
    """The plan is a member of a change set, and is confirmed with it."""


def viewer_role(
    plan: PlanSummary, required: Requirements, actor_id: str, now: datetime, *, may_clear: bool
) -> ViewerRole:
    """Return what the actor can do with a ready plan."""
    if plan.change_set_id:
        return ViewerRole.MEMBER
    return role_of(
        is_expired=plan.is_expired(now),
        may_clear=may_clear,
        is_refused=bool(required.refused),
        needs_approval=required.approval,
        is_requested=plan.approval_asked_at is not None,
        is_author=plan.is_author(actor_id),
    )


def set_viewer_role(
    of: ChangeSet, required: SetRequirements, actor_id: str, now: datetime, *, may_clear: bool
) -> ViewerRole:
    """Return the actor's role for a change set that has not been confirmed."""
    return role_of(
        is_expired=of.shown_status(now) == ShownStatus.EXPIRED,
        may_clear=may_clear,
        is_refused=required.is_too_large or bool(required.refused),
        needs_approval=required.approval,
        is_requested=of.is_approval_asked,
        is_author=of.is_author(actor_id),
    )


def role_of(
    *,
    is_expired: bool,
    may_clear: bool,
    is_refused: bool,
    needs_approval: bool,
    is_requested: bool,
    is_author: bool,
) -> ViewerRole:
    """Return an actor's role for an unconfirmed plan or set."""
    if is_expired:
        return ViewerRole.EXPIRED
    if not may_clear:
        return ViewerRole.LOOK
    if is_refused:
        return ViewerRole.REFUSED
    if not needs_approval:
        return ViewerRole.CONFIRM
    if is_author:
        return ViewerRole.WAITING if is_requested else ViewerRole.ASK
    return ViewerRole.APPROVE if is_requested else ViewerRole.UNASKED
