"""A row of the plan table as a plan."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import read_problem


def summary(row: Row[Any]) -> PlanSummary:
    """Return a row of the plan table as a plan."""
    stop_reason, left_out = read_problem(row.problem)
    return PlanSummary(
        id=row.id.hex,
        status=PlanStatus(row.status),
        dag_id=row.dag_id,
        selection=Selection.from_json(row.selection),
        run_on_latest_version=row.run_on_latest_version,
        dag_versions=tuple(row.dag_versions),
        fingerprint=row.fingerprint,
        created_by=row.created_by,
        created_by_name=row.created_by_name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        task_instances=row.task_instances,
        dag_runs=row.dag_runs,
        findings=tuple(Finding.from_json(item) for item in row.findings),
        findings_not_checked=tuple(row.findings_not_checked or ()),
        outcomes=row.outcomes or {},
        reason=row.reason,
        applied_by=row.applied_by,
        applied_by_name=row.applied_by_name,
        applied_at=row.applied_at,
        finished_at=row.finished_at,
        stop_reason=stop_reason,
        left_out=left_out,
        last_step_at=row.last_step_at,
        batches=row.batches,
        cleared=row.cleared,
        cleared_runs=row.cleared_runs,
        put_back=row.put_back,
        stayed=row.stayed,
        undo_asked_runs=row.undo_asked_runs,
        undone_runs=row.undone_runs,
        airflow_version=row.airflow_version,
        estimate=Estimate.from_json(row.estimate) if row.estimate else None,
        acknowledged=tuple(row.acknowledged or ()),
        approval_asked_at=row.approval_asked_at,
        approved_by=row.approved_by,
        approved_by_name=row.approved_by_name,
        declined_by=row.declined_by,
        declined_by_name=row.declined_by_name,
        declined_at=row.declined_at,
        decline_reason=row.decline_reason,
        team_name=row.team_name,
    )
