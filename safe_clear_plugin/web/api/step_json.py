"""The progress of a clear and of an undo as JSON, for programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from safe_clear_plugin.core.foreseen import Came, Comparison
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.plan_records import DriverState
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services.clear.rerun_progress import Progress
from safe_clear_plugin.services.clear.waves import WaveProgress
from safe_clear_plugin.services.receipt import StepProgress
from safe_clear_plugin.web.api.serializers import iso, problem_json
from safe_clear_plugin.web.api.wave_json import waves_json

RETRY_AFTER = 1.0
"""Seconds after which it is worth while to ask how far a clear or an undo is."""


def apply_json(plan: PlanSummary) -> dict[str, Any]:
    """Return how far a clear has come."""
    return {
        "id": plan.id,
        "status": plan.status,
        "done": plan.cleared,
        "total": plan.task_instances,
        "dag_runs_done": plan.cleared_runs,
        "dag_runs_total": plan.dag_runs,
        "cleared_at": iso(plan.last_step_at),
        "retry_after": RETRY_AFTER if plan.status == PlanStatus.APPLYING else 0,
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
        "retry_after": RETRY_AFTER if plan.is_undoing else 0,
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
                "logical_date": iso(run.logical_date),
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
                "rendered_map_index": row.rendered_map_index,
                "state_now": row.state_now,
                "why": row.why,
            }
            for row in undo.stays
        ],
        "problem": problem_json(undo.problem),
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    counts = {came.value: comparison.total(came) for came in Came}
    return {**counts, "differences": [list(one) for one in comparison.differences]}


def progress_json(
    plan: PlanSummary,
    undo: StepProgress,
    progress: Progress | None,
    driver: DriverState,
    waves: WaveProgress | None,
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return the progress of clear and undo and, unless one is in progress, the states of the re-runs."""
    return {
        **apply_json(plan),
        "interrupted": driver.is_missing,
        "driver": {"name": driver.name, "working": driver.is_working},
        "waves": waves_json(plan, waves),
        "undo": undo_json(plan, undo),
        "by_state": [list(item) for item in progress.by_state] if progress else None,
        "finished": progress.done if progress else None,
        "foreseen": _comparison_json(progress.comparison) if progress else None,
        "checked_at": iso(now),
    }
