"""The turns in a change set: the next step of each of its plans."""

from __future__ import annotations

from collections.abc import Sequence

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary


class Turn(Code):
    """The turn of a plan of a change set that was confirmed."""

    WAITING = "waiting"
    """It is cleared after the plans before it."""
    CLEARING = "clearing"
    CLEARED = "cleared"
    STOPPED = "stopped"
    NOT_CLEARED = "not_cleared"
    UNDO_WAITING = "undo_waiting"
    """It is undone after the plans behind it."""
    UNDOING = "undoing"
    UNDONE = "undone"


def turns_of(plans: Sequence[PlanSummary]) -> list[Turn]:
    """Return the turn of each plan: plans are cleared one by one, and undone one by one from the last."""
    clearing = next((plan for plan in plans if plan.status == PlanStatus.APPLYING), None)
    undoing = next((plan for plan in reversed(plans) if plan.is_undoing), None)
    return [_turn(plan, clearing=plan is clearing, undoing=plan is undoing) for plan in plans]


def _turn(plan: PlanSummary, *, clearing: bool, undoing: bool) -> Turn:
    if plan.is_undoing:
        return Turn.UNDOING if undoing else Turn.UNDO_WAITING
    if plan.is_undone:
        return Turn.UNDONE
    if plan.status == PlanStatus.APPLYING:
        return Turn.CLEARING if clearing else Turn.WAITING
    if plan.status == PlanStatus.APPLIED:
        return Turn.CLEARED
    return Turn.STOPPED if plan.status == PlanStatus.STOPPED else Turn.NOT_CLEARED
