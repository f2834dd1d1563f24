"""Requesting approval of a change set, and declining it: for all its plans at once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core import confirmation
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import unmet_to_request_set_approval
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services.change_sets.claim import set_claim_error
from safe_clear_plugin.services.change_sets.confirm import set_requirements_for
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.clear.approval import expiry_with_request, put_on_record
from safe_clear_plugin.services.clear.confirm import Unconfirmed
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.storage.change_sets import records, turns
from safe_clear_plugin.storage.clear import plan_approval
from safe_clear_plugin.storage.webhook import outbox

CAN_BE_CONFIRMED = (ShownStatus.READY, ShownStatus.WAITING)


def request_set_approval(of: ChangeSet, reason: str, actor: Actor, now: datetime) -> ChangeSet:
    """Request approval by a second person, and return the set as it then is. It then stays valid for longer.

    A repeated request changes nothing: the first reason stays.

    :raises Refused: 403 for anybody but its author; 409 when it needs nobody else; 410 when it expired; 422
        when it is refused anyway, or has no reason
    """
    compatibility.require_supported()
    if of.shown_status(now) not in CAN_BE_CONFIRMED:
        raise set_claim_error(of, now)
    if not of.is_author(actor.id):
        raise Refused(
            403,
            Problem(
                f"Only {of.created_by_name}, the author of the change set, can request approval.",
                "Preview it yourself, or ask the author.",
            ),
        )
    if of.is_approval_asked:
        return of
    with new_session() as session:
        asked = set_requirements_for(of, session)
    unmet = tuple(unmet_to_request_set_approval(of, asked, reason))
    if unmet and (asked.approval or unmet[0].what != "reason"):
        raise Unconfirmed(unmet, "change set")
    if not asked.approval:
        raise Refused(409, Problem("The change set needs no approval.", "Confirm it."))
    retrying(_request, of, reason, actor, now)
    found = get_change_set(of.id)
    if not found.is_approval_asked:
        raise set_claim_error(found, now)
    return found


def _request(of: ChangeSet, reason: str, actor: Actor, now: datetime) -> None:
    set_id, expires_at = UUID(of.id), expiry_with_request(of.expires_at, now)
    with new_session() as session:
        turns.lock_all(set_id, session)
        for plan in of.plans:
            if not plan_approval.request_approval(UUID(plan.id), reason, now, expires_at, session):
                session.rollback()
                return
            put_on_record(audit_log.ASK_EVENT, plan, reason, actor, session)
        records.record_request(set_id, reason, expires_at, session)
        outbox.tell(Event.APPROVAL_REQUESTED, UUID(of.plans[0].id), session, by=actor.name)


def decline_change_set(of: ChangeSet, reason: str, actor: Actor, now: datetime) -> ChangeSet:
    """Decline a set that waits for approval, or withdraw the caller's own; it can no longer be applied.

    If the same person sends the request again, it changes nothing.

    :raises Refused: 409 when nobody was asked, or it is too late; 410 when it expired; 422 when somebody else
        than its author gives no reason
    """
    if of.shown_status(now) in CAN_BE_CONFIRMED:
        if not of.is_approval_asked:
            raise Refused(
                409,
                Problem(
                    "No one has requested approval for this change set.",
                    "You can leave it: it expires if no one confirms it.",
                ),
            )
        if not of.is_author(actor.id) and not reason:
            raise Unconfirmed((confirmation.NO_DECLINE_REASON,), "change set")
        retrying(_decline, of, reason, actor, now)
        of = get_change_set(of.id)
    if of.shown_status(now) == ShownStatus.DECLINED and of.plans[0].declined_by == actor.id:
        return of
    raise set_claim_error(of, now)


def _decline(of: ChangeSet, reason: str, actor: Actor, now: datetime) -> None:
    event = audit_log.WITHDRAW_EVENT if of.is_author(actor.id) else audit_log.DECLINE_EVENT
    with new_session() as session:
        turns.lock_all(UUID(of.id), session)
        for plan in of.plans:
            if not plan_approval.decline(UUID(plan.id), reason, actor, now, session):
                session.rollback()
                return
            put_on_record(event, plan, reason, actor, session)
        outbox.tell(Event.DECLINED, UUID(of.plans[0].id), session, by=actor.name, reason=reason)
