"""The requirements on a change set's page for the person who confirms or approves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import TYPED, SetConfirmation, SetRequirements
from safe_clear_plugin.core.confirmation import UnmetRequirement
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.services.change_sets.confirm import set_requirements_for
from safe_clear_plugin.services.clear.viewer_role import ViewerRole, set_viewer_role
from safe_clear_plugin.services.clear.wave_choice import default_waves
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets.set_findings import anchor_of
from safe_clear_plugin.web.waves import wave_text
from safe_clear_plugin.web.waves.waves_form import PaceFields, WavesForm, form_of


@dataclass(frozen=True, slots=True)
class RejectedSet:
    """The values of a confirmation that was rejected, and the unmet requirements."""

    given: SetConfirmation = field(default_factory=SetConfirmation)
    unmet: tuple[UnmetRequirement, ...] = ()
    waves: WavesForm | None = None
    """The waves of the confirmation, with mistakes at their fields."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An unmet requirement of a confirmation, and the place of its field on the page."""

    problem: Problem
    where: str
    config_source: str | None


@dataclass(frozen=True, slots=True)
class SetConfirmContext:
    """The requirements that the page shows, and the values of the last request."""

    role: ViewerRole
    required: SetRequirements
    rejected: RejectedSet
    pace: PaceFields
    """The waves; filled in by default if large clears go in waves."""
    missing: tuple[Missing, ...]
    errors: dict[str, list[str]]
    """The unmet requirements by the field that shows them."""
    address: str
    """The address of the set, for a second person."""

    @property
    def open(self) -> bool:
        """Whether the caller may confirm the set, once all its requirements are met."""
        return self.role in (ViewerRole.APPROVE, ViewerRole.CONFIRM)

    @property
    def left(self) -> list[str]:
        """The remaining steps before the confirmation, each in a few words."""
        given, parts = self.rejected.given, []
        boxes = [(dag_id, one.code) for dag_id, one in self.required.acknowledge] if self.open else []
        if open_ones := sum(one not in given.acknowledge for one in boxes):
            parts.append(f"Acknowledge {formats.count(open_ones, 'finding')}")
        if self.reason_required and not given.reason:
            parts.append("Enter a reason")
        if (
            self.open
            and self.required.number
            and (given.confirm_task_instances is None or self.errors[TYPED])
        ):
            parts.append("Type the number")
        return parts

    @property
    def reason_required(self) -> bool:
        """Whether the page has a field for the reason, and it may not stay empty."""
        return self.role == ViewerRole.ASK or (self.role == ViewerRole.CONFIRM and self.required.reason)


def set_confirm_context(
    of: ChangeSet, rejected: RejectedSet, *, may_clear: bool, now: datetime, session: Session
) -> SetConfirmContext:
    """Return the values for the page of an unconfirmed set."""
    required = set_requirements_for(of, session)
    return SetConfirmContext(
        role=set_viewer_role(of, required, caller().id, now, may_clear=may_clear),
        required=required,
        rejected=rejected,
        pace=_pace(of, rejected),
        missing=tuple(_missing(one, of) for one in rejected.unmet),
        errors=_errors(rejected.unmet),
        address=links.absolute_url(templating.url("change_set", set_id=of.id)),
    )


def _pace(of: ChangeSet, rejected: RejectedSet) -> PaceFields:
    default = default_waves(of)
    form = rejected.waves or form_of(default)
    return PaceFields(form, "confirm", wave_text.describe(default), is_canary=default is not None)


def _missing(one: UnmetRequirement, of: ChangeSet) -> Missing:
    where = one.problem.field or ""
    if one.what == "acknowledge":
        dag_id, code = one.value
        where = anchor_of(dag_id, code, of)
    return Missing(one.problem, where, one.config_source)


def _errors(unmet: Sequence[UnmetRequirement]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {"reason": [], TYPED: [], "decline_reason": []}
    for one in unmet:
        if one.problem.field in errors:
            errors[one.problem.field].append(str(one.problem))
    return errors
