"""Counts what is at work right now."""

from __future__ import annotations

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.findings import RunningFacts
from safe_clear_plugin.core.undo import RESTORABLE_STATES
from safe_clear_plugin.services.facts.context import PlanContext


def facts(plan: PlanContext) -> RunningFacts:
    """Count by effect and state."""
    return RunningFacts(
        terminated=plan.total("terminate"),
        left_out=plan.total("leave_out"),
        pending=plan.total("clear", states=("queued", "deferred", "awaiting_input")),
        not_undoable=sum(
            change.count
            for change in plan.changes
            if change.effect in CLEARED_EFFECTS and change.before and change.before not in RESTORABLE_STATES
        ),
    )
