"""Why a plan cannot be claimed."""

from __future__ import annotations

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.plans import plan_not_found


def claim_error(plan: PlanSummary | None) -> Refused:
    """Return why a plan, as it is now, can neither be claimed nor declined."""
    if plan is None:
        return plan_not_found()
    if plan.status == "ready":
        return Refused(
            410, Problem("The plan has expired; nothing was cleared.", "Preview the selection again.")
        )
    if plan.status == "declined":
        did = "withdrew" if plan.is_withdrawn else "declined"
        return Refused(
            409,
            Problem(f"{plan.declined_by_name} {did} the plan; nothing was cleared.", "Preview it again."),
            {"status": plan.status},
        )
    if plan.status == "stale":
        return _stale(plan)
    return _claimed(plan)


def _stale(plan: PlanSummary) -> Refused:
    why = plan.stop_reason
    details = {
        "drift": [row.to_json() for row in why.moved] if why else [],
        "drift_total": why.total if why else 0,
    }
    reason = "What the plan covers has moved; nothing was cleared."
    return Refused(409, Problem(reason, "Preview the selection again."), details)


def _claimed(plan: PlanSummary) -> Refused:
    who = plan.applied_by_name or plan.applied_by
    details = {"status": plan.status, "done": plan.cleared, "total": plan.task_instances}
    if plan.status == "applying":
        problem = Problem(f"{who} is applying the plan.", "Its page shows how far it is, and can resume it.")
    elif plan.undo_asked_runs:
        problem = Problem("The plan has been undone, so it cannot go on.", "Preview the selection again.")
    elif plan.status == "stopped":
        problem = Problem("The plan was stopped part of the way.", "Resume it on its page, or undo it.")
    else:
        problem = Problem(f"The plan has already been applied, by {who}.", "Its page shows what was cleared.")
    return Refused(409, problem, details)
