"""Plans that are part of a change set: decisions about the set can't be made about a single plan."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.storage.change_sets import records


def require_single(plan: PlanSummary) -> None:
    """Refuse a decision about a single plan that must be made for its change set.

    :raises Refused: 409 with the id of the set
    """
    if plan.change_set_id:
        raise Refused(
            409,
            Problem(
                "This plan is part of a change set. All its plans are confirmed, approved and continued "
                "together.",
                f"Open change set {plan.change_set_id}. You can undo this plan by itself.",
            ),
            {"change_set": plan.change_set_id},
        )


def count_members(plan: PlanSummary, session: Session) -> int:
    """Return the number of plans in the change set of a plan."""
    return records.count_plans(UUID(plan.change_set_id), session) if plan.change_set_id else 0
