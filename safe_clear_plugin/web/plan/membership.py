"""The line on a plan's page about its change set."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.services.change_set_members import count_members
from safe_clear_plugin.web.app import templating


@dataclass(frozen=True, slots=True)
class Membership:
    """The change set of a plan."""

    url: str
    dags: int
    note: str


def membership(plan: PlanSummary, session: Session) -> Membership | None:
    """Return the change set that the plan is part of, if there is one."""
    if not plan.change_set_id:
        return None
    note = "it is confirmed, stopped and continued with the others."
    if plan.status in (PlanStatus.APPLIED, PlanStatus.UNDONE):
        note = "you can undo it with the others, or by itself here."
    url = templating.url("change_set", set_id=plan.change_set_id)
    return Membership(url, count_members(plan, session), note)
