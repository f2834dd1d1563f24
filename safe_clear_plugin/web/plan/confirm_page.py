"""The confirmation on a plan's page, for its author or an approver, and the page of a declined plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import formats, plan_text
from safe_clear_plugin.core.confirmation import Confirmation, Requirements, UnmetRequirement
from safe_clear_plugin.core.confirmation_summary import ConfirmationSummary, PlanExtent, summarize
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.services.clear.confirm import requirements_for
from safe_clear_plugin.services.clear.viewer_role import ViewerRole, viewer_role
from safe_clear_plugin.services.clear.wave_choice import default_waves
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.waves import wave_text
from safe_clear_plugin.web.waves.waves_form import PaceFields, WavesForm


@dataclass(frozen=True, slots=True)
class RejectedConfirmation:
    """A rejected confirmation of a plan: its values and the unmet requirements."""

    given: Confirmation
    unmet: tuple[UnmetRequirement, ...]
    waves: WavesForm | None = None
    """The waves of the confirmation, with mistakes at their fields."""


NOT_REJECTED = RejectedConfirmation(Confirmation(), ())


@dataclass(frozen=True, slots=True)
class ConfirmContext:
    """The requirements that the page shows, and the values of the last request."""

    role: ViewerRole
    summary: ConfirmationSummary
    required: Requirements
    given: Confirmation
    pace: PaceFields
    errors: dict[str, list[str]]
    """The unmet requirements by the field that shows them."""
    address: str
    """The address of the plan, for a second person."""

    @property
    def open(self) -> bool:
        """Whether the caller may confirm the plan, once all its requirements are met."""
        return self.role in (ViewerRole.APPROVE, ViewerRole.CONFIRM)

    @property
    def left(self) -> list[str]:
        """The remaining steps before the confirmation, each in a few words."""
        parts = []
        if boxes := self.required.acknowledge if self.open else ():
            ticked = sum(finding.code in self.given.acknowledge for finding in boxes)
            open_ones = len(boxes) - ticked
            parts += [f"Acknowledge {formats.count(open_ones, 'finding')}"] if open_ones else []
        if self.reason_required and not self.given.reason:
            parts.append("Enter a reason")
        typed = self.given.confirm_dag_id and not self.errors["confirm_dag_id"]
        if self.open and self.required.dag_id and not typed:
            parts.append("Type the Dag id")
        return parts

    @property
    def reason_required(self) -> bool:
        """Whether the page has a field for the reason, and it may not stay empty."""
        return self.role == ViewerRole.ASK or (self.role == ViewerRole.CONFIRM and self.required.reason)


def confirm_context(
    plan: PlanSummary,
    extent: PlanExtent,
    tasks: Sequence[TouchedTask],
    attempt: RejectedConfirmation,
    *,
    may_clear: bool,
    now: datetime,
    session: Session,
) -> dict[str, Any]:
    """Return what the page of a ready plan says and asks of the caller, for the template.

    Its findings are those of the stored plan, and before them the limits that it meets only since.
    """
    required = requirements_for(plan, session)
    known = {finding.code for finding in plan.findings}
    newly = tuple(finding for finding in required.refused if finding.code not in known)
    shown = ConfirmContext(
        role=viewer_role(plan, required, caller().id, now, may_clear=may_clear),
        summary=summarize(plan, extent, sum(task.cleared > 0 for task in tasks)),
        required=required,
        given=attempt.given,
        pace=_pace(plan, attempt),
        errors=_errors(attempt.unmet),
        address=links.absolute_url(templating.url("plan", plan_id=plan.id)),
    )
    return {
        "plan": replace(plan, findings=(*newly, *plan.findings)),
        "confirming": shown,
        "may_confirm": shown.open,
        "acknowledged": set(attempt.given.acknowledge),
        "missing": attempt.unmet,
    }


def _pace(plan: PlanSummary, attempt: RejectedConfirmation) -> PaceFields:
    default = default_waves(plan)
    return PaceFields(
        attempt.waves or WavesForm(), "confirm", wave_text.describe(default), is_canary=default is not None
    )


def _errors(unmet: Sequence[UnmetRequirement]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {"reason": [], "confirm_dag_id": [], "decline_reason": []}
    for one in unmet:
        if one.problem.field in errors:
            errors[one.problem.field].append(str(one.problem))
    return errors


def declined_page(plan: PlanSummary, context: dict[str, Any]) -> str:
    """Render the page of a plan that was declined or withdrawn."""
    headline = plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs)
    return templating.render("declined.html", headline=headline, **context)
