"""Having a confirmed plan cleared: a driver does it, in the name of who applies it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.change_set_members import require_single
from safe_clear_plugin.services.clear import stop_texts
from safe_clear_plugin.services.clear.claim import claim_or_resume
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.undo import left_out_runs
from safe_clear_plugin.storage.webhook import outbox


def apply_plan(
    plan: PlanSummary,
    fingerprint: str,
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool = False,
    acknowledged: Sequence[str] = (),
    approved: bool = False,
    pace: Pace = ALL_AT_ONCE,
) -> PlanSummary:
    """Have a driver clear the plan in the actor's name, and return the plan as it then is.

    The plan is taken for this actor, and all of it is compared with the database. While it comes back as
    ``applying``, a driver clears it, batch by batch, also if an answer was lost or the request is sent again.
    To go on with a plan that was stopped, or that somebody else applies, takes ``resume``. Whether the actor
    may confirm it, what they ``acknowledged`` and whether they ``approved`` in place of its author, has been
    decided before; it goes on record.

    :raises Refused: 409 when the plan was not what was shown, was applied, or drifted, and on an Airflow that
        is not supported; 410 when it expired
    """
    compatibility.require_supported()
    require_single(plan)
    if fingerprint != plan.fingerprint:
        raise Refused(
            409, Problem("This is not the plan that you previewed.", "Open the plan and review it again.")
        )
    plan = claim_or_resume(
        plan, reason, actor, now, resume=resume, acknowledged=acknowledged, approved=approved, pace=pace
    )
    if plan.status == "applying":
        wake_up()
    return plan


def stop_plan(plan: PlanSummary, actor: Actor, now: datetime, *, only_waiting: bool = False) -> PlanSummary:
    """Stop a clear or an undo after the current batch; any other plan is returned as it is.

    With ``only_waiting``, stop a clear only while it waits for a person. The plans of its change set that
    wait behind it stop with it.

    A stopped undo leaves the remaining runs as they are; it can be requested again.
    """
    retrying(_stop, plan, actor, now, only_waiting=only_waiting)
    return plans.get_plan(plan.id)


def _stop(plan: PlanSummary, actor: Actor, now: datetime, *, only_waiting: bool) -> None:
    with new_session() as session:
        turns.lock_with_others(plan, session)
        if event := stop_in(plan, actor, now, session, only_waiting=only_waiting):
            turns.give_turn(plan, session)
            outbox.tell(event, UUID(plan.id), session, by=actor.name)


def stop_in(
    plan: PlanSummary, actor: Actor, now: datetime, session: Session, *, only_waiting: bool = False
) -> Event | None:
    """Stop a plan and the plans that wait behind it, in the session's transaction. Return the event.

    The transaction holds the rows of all plans of the change set, and gives the turn to the next plan.
    """
    plan_id = UUID(plan.id)
    why = stop_texts.by_person(actor).to_json()
    event = None
    if status.stop(plan_id, why, now, session, only_waiting=only_waiting):
        event = Event.STOPPED
        not_begun = stop_texts.not_begun().to_json()
        for other in turns.stop_behind(plan, not_begun, now, session):
            _put_on_record(plan_reader.get(other, session), "clear", actor, session)
    elif not only_waiting:
        waiting = turns.waiting_to_be_undone(plan, session)
        if left_out_runs.withdraw_all(plan_id, session):
            event = Event.UNDO_STOPPED
            for other in waiting:
                left_out_runs.withdraw_all(other, session)
    if event:
        _put_on_record(plan, "clear" if event is Event.STOPPED else "undo", actor, session)
    return event


def _put_on_record(plan: PlanSummary | None, what: str, actor: Actor, session: Session) -> None:
    if plan is not None:
        details = {"applied_by": plan.applied_by_name, "stopped": what}
        audit_log.record_decision(audit_log.Entry(audit_log.STOP_EVENT, plan, "", actor, details), session)
