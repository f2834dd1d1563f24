"""The progress of a clear or an undo, and the actions that are possible after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.stop_reason import NOT_RESUMABLE
from safe_clear_plugin.core.undo import UndoCount, UndoStay, describe_changes
from safe_clear_plugin.services.plans import batches
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import summarize_undo
from safe_clear_plugin.storage.undo import not_restored


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The progress of a clear or an undo; ``mine`` says whether the viewer applies the plan."""

    kind: str
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    by_name: str = ""
    since: datetime | None = None
    mine: bool = False
    reason: str = ""


def clear_progress(plan: PlanSummary, viewer_id: str) -> StepProgress:
    """Return how far the clear is."""
    return StepProgress(
        kind="apply",
        done=plan.cleared,
        total=plan.task_instances,
        dag_runs_done=plan.cleared_runs,
        dag_runs_total=plan.dag_runs,
        by_name=plan.applied_by_name or "",
        since=plan.applied_at,
        mine=plan.applied_by == viewer_id,
        reason=plan.reason,
    )


def undo_progress(plan: PlanSummary, session: Session) -> StepProgress:
    """Return how far the undo is, counted in task instances that it put back or left."""
    undos = [batch for batch in batches(plan, session) if batch.kind == "undo"]
    under_way = plan.is_undoing
    return StepProgress(
        kind="undo",
        done=plan.put_back + plan.stayed,
        total=not_restored.count_requested(UUID(plan.id), session),
        dag_runs_done=plan.undone_runs,
        dag_runs_total=plan.undo_asked_runs,
        by_name=plan.requester.name if under_way else undos[-1].by_name if undos else "",
        since=undos[-1].at if undos else None,
        reason=plan.request_reason if under_way else undos[-1].reason if undos else "",
    )


@dataclass(frozen=True, slots=True)
class UndoSummary:
    """The part of a clear that can still be undone, and the parts that started or stay for other reasons."""

    put_back: int
    started: int
    other_stays: int
    nothing: str
    """Why nothing can be put back, or why that is not known."""
    is_counted: bool = True


def count_undoable(plan: PlanSummary, now: datetime) -> UndoSummary:
    """Count what an undo would put back; where that takes too long, the undo is offered all the same."""
    try:
        preview = summarize_undo(plan, now)
    except TookTooLong as late:
        return UndoSummary(0, 0, 0, late.problem.reason, is_counted=False)
    started = sum(item.count for item in preview.counts if item.verdict == "started")
    nothing = preview.problem.reason if preview.problem else "all have started or changed"
    return UndoSummary(preview.put_back, started, preview.stay - started, nothing)


@dataclass(frozen=True, slots=True)
class AllowedActions:
    """The possible next steps with a plan that is not in progress."""

    resume: bool
    rest: bool
    undo: bool

    def __bool__(self) -> bool:
        return self.resume or self.rest or self.undo


def allowed_actions(plan: PlanSummary, undo: UndoSummary) -> AllowedActions:
    """Return what can be done with the plan now."""
    why = plan.stop_reason
    is_open = plan.status == PlanStatus.STOPPED and not plan.undo_asked_runs
    return AllowedActions(
        resume=is_open and not (why and why.kind in NOT_RESUMABLE),
        rest=is_open and why is not None and bool(why.moved) and why.moved_in_runs_only,
        undo=bool(undo.put_back) or not undo.is_counted,
    )


def not_restored_counts(plan: PlanSummary, session: Session) -> list[UndoCount]:
    """Count what the undo left as it is, by reason and state."""
    return not_restored.count_not_restored(UUID(plan.id), session)


def not_restored_rows(plan: PlanSummary, session: Session, *, limit: int) -> list[UndoStay]:
    """Return the first task instances that the undo left as they are."""
    return not_restored.list_not_restored(UUID(plan.id), session, limit=limit)


def slipped_away(plan: PlanSummary, session: Session) -> tuple[int, int] | None:
    """Return how many promised task instances were not restored, and how many the undo's preview promised.

    ``None`` if all were restored, or none was promised.
    """
    if not plan.undone_runs or plan.is_undoing:
        return None
    promised = audit_log.promised(plan, session)
    return (promised - plan.put_back, promised) if promised and promised > plan.put_back else None


def not_taken_back(plan: PlanSummary, session: Session) -> str:
    """Say what the scheduler did because of the clear and the undo left, since the run goes on."""
    found = not_restored.scheduler_changes(UUID(plan.id), session)
    return describe_changes(change for change in found if not change.put_back)
