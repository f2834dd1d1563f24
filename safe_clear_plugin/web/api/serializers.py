"""Plans as JSON, for programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, SCHEDULER_EFFECTS
from safe_clear_plugin.core.outcomes import reason_words
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary, ShownStatus
from safe_clear_plugin.core.plan_records import BatchRecord
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.core.stop_reason import write_problem
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.clear.receipt import StepProgress
from safe_clear_plugin.services.clear.rerun_progress import Progress
from safe_clear_plugin.web.api.queries import PageQuery
from safe_clear_plugin.web.app.authorization import redact
from safe_clear_plugin.web.app.unsupported import unsupported_json
from safe_clear_plugin.web.plan.confirm_page import required_json

FIRST_PAGE = PageQuery()


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def summary_json(plan: PlanSummary, now: datetime) -> dict[str, Any]:
    """Return a plan as it stands in the list of plans."""
    return {
        "id": plan.id,
        # Programs tell an interrupted clear by ``interrupted``.
        "status": ShownStatus.APPLYING if plan.is_interrupted(now) else plan.shown_status(now),
        "interrupted": plan.is_interrupted(now),
        "dag_id": plan.dag_id,
        "sentence": plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "task_instances": plan.task_instances,
        "dag_runs": plan.dag_runs,
        "cleared": plan.cleared,
        "put_back": plan.put_back,
        "stayed": plan.stayed,
        "created_by": plan.created_by_name,
        "created_at": _iso(plan.created_at),
        "expires_at": _iso(plan.expires_at),
        "reason": plan.reason,
        "applied_by": plan.applied_by_name,
        "applied_at": _iso(plan.applied_at),
        "finished_at": _iso(plan.finished_at),
        "problem": write_problem(plan.stop_reason, plan.left_out),
        "acknowledged": list(plan.acknowledged),
        "approval_asked_at": _iso(plan.approval_asked_at),
        "approved_by": plan.approved_by_name,
        "declined_by": plan.declined_by_name,
        "declined_at": _iso(plan.declined_at),
        "decline_reason": plan.decline_reason,
    }


def plan_json(
    plan: PlanSummary, now: datetime, session: Session, page: PageQuery = FIRST_PAGE
) -> dict[str, Any]:
    """Return a plan with a page of its dag runs and its batches, without its task instances."""
    return {
        **summary_json(plan, now),
        "selection": plan.selection.to_json(),
        "fingerprint": plan.fingerprint,
        "counts": {
            "task_instances": plan.task_instances,
            "dag_runs": plan.dag_runs,
            "by_state": _by_state(plan, session),
        },
        "dag_runs": [
            _run_json(run) for run in plans.runs(plan, session, offset=page.offset, limit=page.limit)
        ],
        "batches": [_batch_json(batch) for batch in plans.batches(plan, session)],
        "findings": [finding.to_json() for finding in redact(plan, session).findings],
        "findings_not_checked": list(plan.findings_not_checked),
        "outcomes": dict(plan.outcomes),
        "estimate": plan.estimate.to_json() if plan.estimate else None,
        "required": required_json(plan, session),
        "unsupported": unsupported_json(),
    }


def _batch_json(batch: BatchRecord) -> dict[str, Any]:
    return {
        "number": batch.number,
        "kind": batch.kind,
        "at": _iso(batch.at),
        "by": batch.by_name,
        "reason": batch.reason,
        "dag_runs": batch.dag_runs,
        "task_instances": batch.task_instances,
        "stayed": batch.stayed,
    }


def apply_json(plan: PlanSummary) -> dict[str, Any]:
    """Return how far a clear has come."""
    return {
        "id": plan.id,
        "status": plan.status,
        "done": plan.cleared,
        "total": plan.task_instances,
        "dag_runs_done": plan.cleared_runs,
        "dag_runs_total": plan.dag_runs,
        "cleared_at": _iso(plan.last_step_at),
    }


def undo_json(plan: PlanSummary, step: StepProgress) -> dict[str, Any]:
    """Return how far an undo has come: ``done`` are put back or stay, of the ``total`` asked for."""
    return {
        "id": plan.id,
        "status": plan.status,
        "under_way": plan.is_undoing,
        "done": step.done,
        "total": step.total,
        "dag_runs_done": step.dag_runs_done,
        "dag_runs_total": step.dag_runs_total,
        "put_back": plan.put_back,
        "stayed": plan.stayed,
    }


def undo_preview_json(plan: PlanSummary, undo: UndoPreview) -> dict[str, Any]:
    """Return what an undo would do; ``dag_runs`` and ``stays`` are the first of them."""
    return {
        "cleared_runs": plan.cleared_runs,
        "task_instances": undo.task_instances,
        "put_back": undo.put_back,
        "stay": undo.stay,
        "counts": [
            {"verdict": item.verdict, "before": item.before, "now": item.now, "count": item.count}
            for item in undo.counts
        ],
        "dag_runs_total": undo.dag_runs,
        "whole_dag_runs": undo.whole_runs,
        "dag_runs": [
            {
                "run_id": run.run_id,
                "logical_date": _iso(run.logical_date),
                "put_back": run.put_back,
                "stay": run.stay,
                "state_now": run.state_now,
                "state_back": run.state_back,
                "why_kept": run.why_kept,
            }
            for run in undo.runs
        ],
        "scheduler_changes": [asdict(change) for change in undo.scheduler_changes],
        "stays": [
            {
                "run_id": row.run_id,
                "task_id": row.task_id,
                "map_index": row.map_index,
                "state_now": row.state_now,
                "why": row.why,
            }
            for row in undo.stays
        ],
        "problem": {"reason": undo.problem.reason, "remedy": undo.problem.remedy} if undo.problem else None,
    }


def _by_state(plan: PlanSummary, session: Session) -> dict[str, int]:
    counts: dict[str, int] = {}
    for change in plans.state_changes(plan, session):
        if change.effect in CLEARED_EFFECTS:
            state = change.before or NO_STATE
            counts[state] = counts.get(state, 0) + change.count
    return counts


def _run_json(run: PlannedRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "logical_date": _iso(run.logical_date),
        "partition_key": run.partition_key,
        "partition_date": _iso(run.partition_date),
        "before": {"state": run.state},
        "after": {"state": run.after_state},
        "task_instances": run.task_instances,
        "applied_at": _iso(run.applied_at),
        "batch": run.batch,
        "undone_at": _iso(run.undone_at),
        "undo_batch": run.undo_batch,
        "put_back": run.put_back,
        "outcome": run.outcome,
        "outcome_why": reason_words(run.outcome_reason),
    }


def task_instance_json(row: PlannedTaskInstance) -> dict[str, Any]:
    """Return one row of a plan; ``before`` is null for one that the clear makes Airflow create."""
    before = None
    if row.id is not None:
        before = {"id": row.id, "state": row.state, "try_number": row.try_number}
    return {
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "effect": row.effect.shown,
        "by": "scheduler" if row.effect in SCHEDULER_EFFECTS else "clear",
        "why": row.why,
        "outcome": row.outcome,
        "outcome_why": reason_words(row.outcome_reason),
        "before": before,
        "after": {"state": row.after_state, "max_tries": row.after_max_tries},
    }


def progress_json(
    plan: PlanSummary, undo: StepProgress, progress: Progress | None, *, interrupted: bool, now: datetime
) -> dict[str, Any]:
    """Return how far clear and undo are and, unless one is under way, how the task instances re-run."""
    return {
        **apply_json(plan),
        "interrupted": interrupted,
        "undo": undo_json(plan, undo),
        "by_state": [list(item) for item in progress.by_state] if progress else None,
        "finished": progress.done if progress else None,
        "checked_at": _iso(now),
    }
