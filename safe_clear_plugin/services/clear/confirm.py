"""Confirming a plan: checks the caller's rights and the requirements of the plan."""

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
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace
from safe_clear_plugin.findings.limits import compare_with_limits, refusals
from safe_clear_plugin.services.change_set_members import require_single
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.clear.claim_errors import claim_error


class Unconfirmed(Refused):
    """A confirmation that lacks something; ``missing`` is never empty."""

    def __init__(self, missing: tuple[UnmetRequirement, ...], of: str = "plan") -> None:
        status = 403 if any(one.forbidden for one in missing) else 422
        details = {"missing": [one.to_json() for one in missing]}
        super().__init__(status, confirmation.describe_missing(missing, of), details)
        self.missing = missing


def requirements_for(plan: PlanSummary, session: Session) -> Requirements:
    """Return the requirements of the plan, from its rows and the current options."""
    limits = config.limits()
    facts = compare_with_limits(limits, UUID(plan.id), plan.dag_id, plan.task_instances, session)
    concerning = replace(limits, protected=tuple(one.pattern for one in facts.protections))
    return confirmation.requirements(plan, concerning, refusals(facts))


def unmet_without_confirmation(plan: PlanSummary, actor_id: str, session: Session) -> list[UnmetRequirement]:
    """Return the requirements that the actor must still meet to confirm the plan; none unless it is ready."""
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
    pace: Pace = ALL_AT_ONCE,
) -> PlanSummary:
    """Have a driver clear the plan, if the caller meets its requirements.

    They are not checked again if a stopped plan continues.

    :raises Unconfirmed: 422, or 403 when a second person must confirm, with all unmet requirements
    :raises Refused: as :func:`~safe_clear_plugin.services.clear.apply.apply_plan`
    """
    compatibility.require_supported()
    require_single(plan)
    # A plan that is not what was shown is refused for that below; the claim takes only what was checked here.
    if plan.status != "ready" or fingerprint != plan.fingerprint:
        return apply_plan(plan, fingerprint, given.reason, actor, now, resume=resume, pace=pace)
    if plan.is_expired(now):
        raise claim_error(plan)
    asked = confirmed(plan, given, actor)
    return apply_plan(
        plan,
        fingerprint,
        # The recorded reason is the author's, which the second person has read.
        plan.reason if asked.approval else given.reason,
        actor,
        now,
        resume=resume,
        acknowledged=tuple(finding.code for finding in asked.acknowledge),
        approved=asked.approval,
        pace=pace,
    )


def confirmed(plan: PlanSummary, given: Confirmation, actor: Actor) -> Requirements:
    """Return the requirements of the plan, once all of them are met.

    :raises Unconfirmed: with the unmet requirements
    """
    with new_session() as session:
        asked = requirements_for(plan, session)
    if missing := tuple(confirmation.unmet_requirements(plan, asked, given, actor.id)):
        raise Unconfirmed(missing)
    return asked
