"""Requesting approval of a plan, and declining it.

Above a limit its author cannot apply a plan; :mod:`~safe_clear_plugin.core.confirmation` has that rule.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core import confirmation
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services.change_set_members import require_single
from safe_clear_plugin.services.clear.claim_errors import claim_error
from safe_clear_plugin.services.clear.confirm import Unconfirmed, requirements_for
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.time_limit import read_in_time
from safe_clear_plugin.storage.clear import plan_approval
from safe_clear_plugin.storage.webhook import outbox


def request_approval(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> PlanSummary:
    """Ask for a second person, and return the plan as it then is, which lives longer from now on.

    Asked once, it stays asked for, with the reason that was given first.

    :raises Refused: 403 for anybody but its author; 409 when it needs nobody else; 410 when it expired; 422
        when it is refused anyway, or has no reason
    """
    compatibility.require_supported()
    require_single(plan)
    if plan.status != "ready" or plan.is_expired(now):
        raise claim_error(plan)
    if not plan.is_author(actor.id):
        raise Refused(
            403,
            Problem(
                f"Only {plan.created_by_name}, the author of the plan, can request approval.",
                "Preview the selection yourself, or ask the author.",
            ),
        )
    if plan.approval_asked_at is not None:
        return plan
    with new_session() as session:
        asked = requirements_for(plan, session)
    if asked.refused or (asked.approval and not reason):
        raise Unconfirmed(tuple(confirmation.unmet_to_request_approval(asked, reason)))
    if not asked.approval:
        raise Refused(409, Problem("The plan needs no approval.", "Confirm it on its page."))
    retrying(_request, plan, reason, actor, now)
    found = get_plan(plan.id)
    if found.approval_asked_at is None:
        raise claim_error(found)
    return found


def _request(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> None:
    expires_at = expiry_with_request(plan.expires_at, now)
    with new_session() as session:
        if plan_approval.request_approval(UUID(plan.id), reason, now, expires_at, session):
            put_on_record(audit_log.ASK_EVENT, plan, reason, actor, session)
            outbox.tell(Event.APPROVAL_REQUESTED, UUID(plan.id), session, by=actor.name)


def expiry_with_request(expires_at: datetime, now: datetime) -> datetime:
    """Return how long a plan or set that waits for a second person can be confirmed."""
    return max(expires_at, now + timedelta(minutes=config.approval_ttl_minutes()))


def decline_plan(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> PlanSummary:
    """Decline a plan that waits for approval, or withdraw one's own; it can no longer be applied.

    Sent again by the same person, it changes nothing.

    :raises Refused: 409 when nobody was asked, or it is too late; 410 when it expired; 422 when somebody else
        than its author gives no reason
    """
    require_single(plan)
    if plan.status == "ready" and not plan.is_expired(now):
        _require_declinable(plan, reason, actor)
        retrying(_decline, plan, reason, actor, now)
        plan = get_plan(plan.id)
    if plan.status == "declined" and plan.declined_by == actor.id:
        return plan
    raise claim_error(plan)


def _require_declinable(plan: PlanSummary, reason: str, actor: Actor) -> None:
    if plan.approval_asked_at is None:
        raise Refused(
            409,
            Problem(
                "No one has requested approval for this plan.",
                "You can leave it: the plan expires if no one confirms it.",
            ),
        )
    if actor.id != plan.created_by and not reason:
        raise Unconfirmed((confirmation.NO_DECLINE_REASON,))


def _decline(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> None:
    with new_session() as session:
        if plan_approval.decline(UUID(plan.id), reason, actor, now, session):
            event = audit_log.WITHDRAW_EVENT if plan.is_author(actor.id) else audit_log.DECLINE_EVENT
            put_on_record(event, plan, reason, actor, session)
            outbox.tell(Event.DECLINED, UUID(plan.id), session, by=actor.name, reason=reason)


def count_waiting(user: permissions.BaseUser, now: datetime) -> int:
    """Count the requests of others, for a plan or a change set, that the user can approve or decline.

    The number is 0 if a page had no time to count them.
    """

    def count(session: Session) -> int:
        waiting = plan_approval.waiting_dags(permissions.actor(user).id, now, session)
        dags = sorted({dag for dags in waiting.values() for dag in dags}, key=lambda dag: dag.dag_id)
        allowed = permissions.clearable_dags(dags, user, session).ids if dags else set[str]()
        return sum(all(dag.dag_id in allowed for dag in dags) for dags in waiting.values())

    return read_in_time(count) or 0


def put_on_record(event: str, plan: PlanSummary, reason: str, actor: Actor, session: Session) -> None:
    """Write a decision about a plan into the audit log."""
    details = {
        "task_instances": plan.task_instances,
        "dag_runs": plan.dag_runs,
        "asked_by": plan.created_by_name,
    }
    audit_log.record_decision(audit_log.Entry(event, plan, reason, actor, details), session)
