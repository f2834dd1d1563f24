"""Confirming a plan: whether the caller may, and has given all that is required."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core import confirmation
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.confirmation import Confirmation, Requirements, UnmetRequirement
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.findings.limits import compare_with_limits, refusals
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.clear.claim_errors import claim_error


class Unconfirmed(Refused):
    """A confirmation that lacks something; ``missing`` is never empty."""

    def __init__(self, missing: tuple[UnmetRequirement, ...]) -> None:
        status = 403 if any(one.forbidden for one in missing) else 422
        details = {"missing": [one.to_json() for one in missing]}
        super().__init__(status, confirmation.describe_missing(missing), details)
        self.missing = missing


def requirements_for(plan: PlanSummary, session: Session) -> Requirements:
    """Return what the plan asks for, holding its rows against the options as they are now."""
    limits = config.limits()
    facts = compare_with_limits(limits, UUID(plan.id), plan.dag_id, plan.task_instances, session)
    concerning = replace(limits, protected=tuple(one.pattern for one in facts.protections))
    return confirmation.requirements(plan, concerning, refusals(facts))


def unmet_without_confirmation(plan: PlanSummary, actor_id: str, session: Session) -> list[UnmetRequirement]:
    """Return what the actor would have to give to confirm the plan; nothing unless it is ready."""
    if plan.status != PlanStatus.READY:
        return []
    required = requirements_for(plan, session)
    return list(confirmation.unmet_requirements(plan, required, Confirmation(), actor_id))


def confirm_plan(
    plan: PlanSummary,
    fingerprint: str,
    given: Confirmation,
    actor: Actor,
    now: datetime,
    *,
    resume: bool = False,
) -> PlanSummary:
    """Clear the next batch; the first one only if whoever asks for it has confirmed all that is to be.

    Further batches, and going on with a plan that was stopped, do not ask again.

    :raises Unconfirmed: 422, or 403 when it takes somebody else, with everything that is missing
    :raises Refused: as :func:`~safe_clear_plugin.services.clear.apply.apply_plan`
    """
    compatibility.require_supported()
    reason, approved = given.reason, False
    acknowledged: tuple[str, ...] = ()
    # A plan that is not what was shown is refused for that below; the claim takes only what was checked here.
    if plan.status == "ready" and fingerprint == plan.fingerprint:
        if plan.is_expired(now):
            raise claim_error(plan)
        asked = confirmed(plan, given, actor)
        approved = asked.approval
        acknowledged = tuple(finding.code for finding in asked.acknowledge)
        if approved:
            # The reason on record is that of its author, which the second person read.
            reason = plan.reason
    return apply_plan(
        plan,
        fingerprint,
        reason,
        actor,
        now,
        resume=resume,
        acknowledged=acknowledged,
        approved=approved,
    )


def confirmed(plan: PlanSummary, given: Confirmation, actor: Actor) -> Requirements:
    """Return what was asked for, once all of it is given.

    :raises Unconfirmed: with what is missing
    """
    with new_session() as session:
        asked = requirements_for(plan, session)
    if missing := tuple(confirmation.unmet_requirements(plan, asked, given, actor.id)):
        raise Unconfirmed(missing)
    return asked
