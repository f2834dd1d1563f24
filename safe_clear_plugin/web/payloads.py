"""Plans as JSON, for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.core import words
from safe_clear_plugin.core.plan import CLEARED_EFFECTS, PlannedRun, PlannedTaskInstance, PlanSummary
from safe_clear_plugin.core.selection import NO_STATE
from safe_clear_plugin.services.results import Progress
from safe_clear_plugin.storage import reading


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def plan_json(plan: PlanSummary, now: datetime, session: Session) -> dict[str, Any]:
    """Return a plan with its dag runs, without its task instances."""
    plan_id = UUID(plan.id)
    return {
        "id": plan.id,
        "status": "expired" if plan.expired(now) else plan.status,
        "dag_id": plan.dag_id,
        "selection": plan.selection.to_json(),
        "sentence": words.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "fingerprint": plan.fingerprint,
        "counts": {
            "task_instances": plan.task_instances,
            "dag_runs": plan.dag_runs,
            "by_state": _by_state(plan_id, session),
        },
        "dag_runs": [_run_json(run) for run in reading.runs(plan_id, session)],
        "findings": [finding.to_json() for finding in plan.findings],
        "created_by": plan.created_by_name,
        "created_at": _iso(plan.created_at),
        "expires_at": _iso(plan.expires_at),
        "reason": plan.reason,
        "applied_by": plan.applied_by_name,
        "applied_at": _iso(plan.applied_at),
        "finished_at": _iso(plan.finished_at),
        "problem": plan.problem,
    }


def _by_state(plan_id: UUID, session: Session) -> dict[str, int]:
    counts: dict[str, int] = {}
    for change in reading.state_changes(plan_id, session):
        if change.effect in CLEARED_EFFECTS:
            state = change.before or NO_STATE
            counts[state] = counts.get(state, 0) + change.count
    return counts


def _run_json(run: PlannedRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "logical_date": _iso(run.logical_date),
        "before": {"state": run.state},
        "after": {"state": run.after_state},
        "task_instances": run.task_instances,
        "applied_at": _iso(run.applied_at),
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
        "effect": row.effect,
        "why": row.why,
        "before": before,
        "after": {"state": row.after_state, "max_tries": row.after_max_tries},
    }


def progress_json(progress: Progress) -> dict[str, Any]:
    """Return the re-run's states, for the result page's script."""
    return {
        "by_state": [list(item) for item in progress.by_state],
        "done": progress.done,
        "total": progress.total,
        "checked_at": _iso(progress.checked_at),
    }
