"""The outcome of a plan, a change set or Airflow's own clear, as one word of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.history import HistoryOutcome
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus

STATUS_LABELS: Mapping[HistoryOutcome, str] = {
    "waiting": "Waiting for approval",
    "applying": "Clearing",
    "interrupted": "Interrupted: no driver runs",
    "applied": "Applied",
    "stopped": "Stopped or partly applied",
    "undone": "Undone",
    "stale": "Not applied: out of date",
    "declined": "Declined or withdrawn",
    "expired": "Expired without approval",
    "airflow": "Cleared with Airflow",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome; ``extent`` has the numbers if it is not complete."""

    look: str
    text: str
    extent: str = ""


WITH_AIRFLOW = Outcome("quiet", "Airflow’s own")


def outcome(plan: PlanSummary, now: datetime) -> Outcome:
    """Return the outcome of a plan."""
    return _outcome(plan, [plan], plan.shown_status(now))


def set_outcome(of: ChangeSet, now: datetime) -> Outcome:
    """Return the outcome of a change set."""
    return _outcome(of, of.plans, of.shown_status(now))


def _outcome(of: PlanSummary | ChangeSet, plans: Sequence[PlanSummary], status: ShownStatus) -> Outcome:
    part = f"{of.cleared:,} of {of.task_instances:,} cleared"
    if any(plan.undo_asked_runs for plan in plans):
        return _undo_outcome(of)
    if any(plan.is_waiting_for_person for plan in plans):
        return Outcome("warn", "Waiting for a person", part)
    if status == ShownStatus.STOPPED:
        stopped = next(plan for plan in plans if plan.status == PlanStatus.STOPPED)
        is_stop = stopped.stop_reason is not None and stopped.stop_reason.is_stop_by_person
        return Outcome("warn", "Stopped" if is_stop or not of.cleared else "Partly applied", part)
    if status == ShownStatus.DECLINED:
        declined = next(plan for plan in plans if plan.status == PlanStatus.DECLINED)
        if not declined.is_withdrawn:
            return Outcome("bad", "Declined", f"by {declined.declined_by_name}")
    return _of_status(status, part)


def _of_status(status: ShownStatus, part: str) -> Outcome:
    return {
        ShownStatus.READY: Outcome("", "Ready"),
        ShownStatus.WAITING: Outcome("warn", "Waiting for approval"),
        ShownStatus.EXPIRED: Outcome("quiet", "Expired"),
        ShownStatus.DECLINED: Outcome("quiet", "Withdrawn"),
        ShownStatus.APPLYING: Outcome("", "Clearing", part),
        ShownStatus.INTERRUPTED: Outcome("warn", "Interrupted", part),
        ShownStatus.STALE: Outcome("bad", "Not applied: out of date"),
        ShownStatus.APPLIED: Outcome("ok", "Applied"),
        ShownStatus.UNDONE: Outcome("quiet", "Undone"),
    }[status]


def _undo_outcome(of: PlanSummary | ChangeSet) -> Outcome:
    extent = f"{of.put_back:,} of {of.cleared:,} restored"
    if of.is_undoing:
        return Outcome("", "Undoing", extent)
    text = undone_label(of)
    return Outcome("quiet", text) if of.put_back >= of.cleared else Outcome("warn", text, extent)


def undone_label(of: PlanSummary | ChangeSet) -> str:
    """Name the result of an undo: it is complete only if everything that was cleared is restored."""
    if of.put_back >= of.cleared:
        return "Undone"
    return "Undone in part" if of.put_back else "Nothing restored"
