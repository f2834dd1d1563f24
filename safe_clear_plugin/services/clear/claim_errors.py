"""Why a plan cannot be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.stop_reason import DriftRecord
from safe_clear_plugin.services.plans import plan_not_found


def claim_error(plan: PlanSummary | None) -> Refused:
    """Return why a plan, as it is now, can neither be claimed nor declined."""
    if plan is None:
        return plan_not_found()
    if plan.status == "ready":
        return Refused(
            410, Problem("The plan has expired. Nothing was cleared.", "Preview the selection again.")
        )
    if plan.status == "declined":
        did = "withdrew" if plan.is_withdrawn else "declined"
        return Refused(
            409,
            Problem(f"{plan.declined_by_name} {did} the plan. Nothing was cleared.", "Preview it again."),
            {"status": plan.status},
        )
    if plan.status == "stale":
        return _stale(plan)
    return _claimed(plan)


def not_begun(plan: PlanSummary) -> Refused:
    """Return why a plan that nobody has confirmed is not resumed: nobody was asked for its requirements."""
    return Refused(
        409,
        Problem(
            "This plan was not applied yet, so there is nothing to resume. Nothing was cleared.",
            "Review the plan, then apply it.",
        ),
        {"status": plan.status},
    )


def require_same_stop(plan: PlanSummary, finished_at: str) -> None:
    """Refuse to resume a plan that has stopped again, at another time than the request says.

    So a request that is sent again after a lost answer does not go past a later stop.

    :raises Refused: 409 with the reason of the stop
    """
    if plan.status == "stopped" and plan.finished_at and plan.finished_at.isoformat() != finished_at:
        raise claim_error(plan)


def stale(rows: Sequence[DriftedRow | DriftRecord], total: int, cause: str = "") -> Refused:
    """Return why a plan that drifted is not applied, with the first of the ``total`` rows that did."""
    reason = f"Nothing was cleared: {count(total, 'item')} changed after the preview."
    details = {"drift": [row.to_json() for row in rows], "drift_total": total}
    return Refused(409, Problem(reason, f"Preview the same selection again. {cause}".strip()), details)


def _stale(plan: PlanSummary) -> Refused:
    why = plan.stop_reason
    return stale(why.moved, why.total, why.remedy) if why else stale((), 0)


def _stopped(plan: PlanSummary) -> Problem:
    why = plan.stop_reason
    if why and why.reason:
        return Problem(why.reason, why.remedy)
    return Problem("The plan was stopped before it was complete.", "Resume it on its page, or undo it.")


def _why_stopped(plan: PlanSummary) -> dict[str, Any]:
    why = plan.stop_reason
    return {"code": why.kind, "drift": [row.to_json() for row in why.moved]} if why else {}


def _claimed(plan: PlanSummary) -> Refused:
    who = plan.applied_by_name or plan.applied_by
    details: dict[str, Any] = {"status": plan.status, "done": plan.cleared, "total": plan.task_instances}
    if plan.status == "applying":
        problem = Problem(
            f"{who} is applying the plan.", "Its page shows the progress. You can resume it there."
        )
    elif plan.undo_asked_runs:
        problem = Problem("The plan has been undone, so it can't continue.", "Preview the selection again.")
    elif plan.status == "stopped":
        problem, details = _stopped(plan), {**details, **_why_stopped(plan)}
    else:
        problem = Problem(f"{who} has already applied the plan.", "Its page shows what was cleared.")
    return Refused(409, problem, details)
