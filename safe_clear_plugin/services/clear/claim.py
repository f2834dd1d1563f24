"""Claiming a plan, resuming it, and the reasons why it cannot be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.joins import join_runs
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace, WaveState
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services import plans, retention
from safe_clear_plugin.services.clear import stop_texts
from safe_clear_plugin.services.clear.claim_errors import claim_error, not_begun, stale
from safe_clear_plugin.services.clear.wave_choice import require_future_time, require_same_pace
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.storage.clear import drift, status
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.webhook import outbox

MISMATCHES_ON_RECORD = 10
"""Of what differed, how much the audit log names when somebody goes on all the same."""


def claim_or_resume(
    plan: PlanSummary,
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool,
    acknowledged: Sequence[str] = (),
    approved: bool = False,
    pace: Pace = ALL_AT_ONCE,
) -> PlanSummary:
    """Return the plan once a driver will clear it, or unchanged if it is already done.

    :raises Refused: 409 when it is another person's, is over, or is resumed but has not begun; 410 when
        it expired
    """
    if plan.status == "ready":
        if resume and not plan.is_expired(now):
            raise not_begun(plan)
        require_future_time(pace.waves, now)
        retrying(_claim, plan, reason, actor, now, acknowledged=acknowledged, approved=approved, pace=pace)
        plan = plans.get_plan(plan.id)
    elif resume and plan.status in ("stopped", "applying"):
        require_resumable(plan, now)
        if plan.status == PlanStatus.APPLYING:
            # Taking a clear over does not answer for the person for whom it waits.
            require_same_pace(plan, pace)
            pace = ALL_AT_ONCE
        if pace.is_chosen:
            require_future_time(pace.waves, now)
        # From here on it is this person who applies it; the receipt keeps both names.
        retrying(_resume, plan, reason, actor, now, pace)
        plan = plans.get_plan(plan.id)
    if plan.status in ("applying", "applied") and plan.applied_by == actor.id:
        require_same_pace(plan, pace)
        return plan
    raise claim_error(plan)


def _resume(plan: PlanSummary, reason: str, actor: Actor, now: datetime, pace: Pace) -> None:
    with new_session() as session:
        resumed = status.resume(plan, actor, now, session, reason=reason or plan.reason, pace=pace)
        require_supported_database(session)
        # A request that was lost may be sent again.
        if not resumed or (plan.status == "applying" and plan.applied_by == actor.id):
            return
        stopped = plan.stop_reason
        details = {
            "applied_by": plan.applied_by_name,
            "status_before": plan.status,
            # Of a mismatch: that somebody went on although the result had differed from the plan.
            "stopped_because": stopped.kind if stopped else None,
            "mismatches": list(stopped.mismatches[:MISMATCHES_ON_RECORD]) if stopped else [],
        }
        audit_log.record_decision(
            audit_log.Entry(audit_log.RESUME_EVENT, plan, reason, actor, details), session
        )
        outbox.tell(Event.RESUMED, UUID(plan.id), session, by=actor.name, reason=reason)
        if plan.wave_state == WaveState.WAITING_FOR_PERSON and not pace.is_chosen:
            # It goes no further: it waits for a person, as it did when it was stopped.
            outbox.tell(Event.WAITING, UUID(plan.id), session)


def require_supported_database(session: Session) -> None:
    """Refuse, and leave the plan as it is, if Airflow's tables have been migrated to another shape."""
    if found := compatibility.check(session.connection()):
        raise found.refusal()


def require_resumable(plan: PlanSummary, now: datetime) -> None:
    """Refuse to go on with a plan that is being removed, or across an upgrade.

    What is kept for the undo has the columns of one version of Airflow.
    """
    if retention.is_over(plan, now):
        raise Refused(409, Problem("The plan is too old to continue.", "Preview the rest as a new plan."))
    if problem := upgrade_problem(plan):
        raise Refused(409, problem)


def upgrade_problem(plan: PlanSummary) -> Problem | None:
    """Return why a plan that was begun cannot go on, if Airflow has been upgraded since."""
    if plan.airflow_version == config.AIRFLOW_VERSION:
        return None
    return Problem(
        f"The clear began on Airflow {plan.airflow_version}; this is Airflow {config.AIRFLOW_VERSION}.",
        "Preview the rest as a new plan.",
    )


def _claim(
    plan: PlanSummary,
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    acknowledged: Sequence[str],
    approved: bool,
    pace: Pace,
) -> None:
    """Take the plan for this actor alone, if it still holds; what moved makes it stale instead."""
    plan_id = UUID(plan.id)
    with new_session() as session:
        taken = status.claim(
            plan,
            actor,
            now,
            session,
            reason=reason,
            acknowledged=acknowledged,
            approved=approved,
            airflow_version=config.AIRFLOW_VERSION,
            waves=pace.waves,
        )
        if not taken:
            _require_claimed_before(plan_reader.get(plan_id, session), actor, now)
            return
        require_supported_database(session)
        join_runs(session)
        drifted, total = drift.find_drift(plan, session)
        if drifted:
            cause = stop_texts.cause_of_drift(drifted, plan.dag_id, session)
            problem = stop_texts.stale(drifted, total, cause).to_json()
            status.transition(plan_id, "applying", "stale", session, problem=problem, finished_at=now)
        outbox.tell(Event.STOPPED if drifted else Event.STARTED, plan_id, session, by=actor.name)
    if drifted:
        raise stale(drifted, total, cause)


def _require_claimed_before(found: PlanSummary | None, actor: Actor, now: datetime) -> None:
    """Refuse a claim that was not made, unless the same actor had made it before."""
    if found is not None and found.status == PlanStatus.READY and not found.is_expired(now):
        raise Refused(
            409,
            Problem(
                "Someone has requested approval for this plan in the meantime. Nothing was cleared.",
                "Open the plan and review it again.",
            ),
        )
    if found is None or found.status == PlanStatus.READY or found.applied_by != actor.id:
        raise claim_error(found)
