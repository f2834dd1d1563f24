"""Whether a driver works on a change set: a long batch can outlast its lease."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services.clear.rerun_progress import driver_state


def as_driven(of: ChangeSet, session: Session) -> ChangeSet:
    """Return the set; its plans on which no driver works are interrupted, as their progress says."""
    if not of.is_interrupted:
        return of
    return replace(of, plans=tuple(_as_driven(plan, session) for plan in of.plans))


def _as_driven(plan: PlanSummary, session: Session) -> PlanSummary:
    if not plan.is_interrupted or driver_state(plan, session).is_missing:
        return plan
    return replace(plan, is_interrupted=False)
