"""Who applies a plan: taking it, taking it over, and why it cannot be taken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services import plans, retention
from safe_clear_plugin.services.clear import stop_texts
from safe_clear_plugin.services.clear.claim_errors import claim_error, stale
from safe_clear_plugin.services.clear.retry import retrying
from safe_clear_plugin.storage.clear import drift, status
from safe_clear_plugin.storage.plans import plan_reader

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
) -> PlanSummary:
    """Return the plan ready for its next batch, or as it is when it is done already."""
    if plan.status == "ready":
        retrying(_claim, plan, reason, actor, now, acknowledged=acknowledged, approved=approved)
        plan = plans.get_plan(plan.id)
    elif resume and plan.status in ("stopped", "applying"):
        _require_resumable(plan, now)
        # From here on it is this person who applies it; the receipt keeps both names.
        retrying(_resume, plan, reason, actor, now)
        plan = plans.get_plan(plan.id)
    if plan.status in ("applying", "applied") and plan.applied_by == actor.id:
        return plan
    raise claim_error(plan)


def _resume(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> None:
    with new_session() as session:
        resumed = status.resume(UUID(plan.id), plan.status, actor, now, session)
        _require_supported_database(session)
        # Each request for a batch may repeat the confirmation.
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


def _require_supported_database(session: Session) -> None:
    """Refuse, and leave the plan as it is, if Airflow's tables have been migrated to another shape."""
    if found := compatibility.check(session.connection()):
        raise found.refusal()


def _require_resumable(plan: PlanSummary, now: datetime) -> None:
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
        )
        if not taken:
            _require_claimed_before(plan_reader.get(plan_id, session), actor, now)
            return
        _require_supported_database(session)
        drifted, total = drift.find_drift(plan, session)
        if drifted:
            problem = stop_texts.stale(drifted, total).to_json()
            status.transition(plan_id, "applying", "stale", session, problem=problem, finished_at=now)
    if drifted:
        raise stale(drifted, total)


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
