"""Plans as JSON, for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, SCHEDULER_EFFECTS
from safe_clear_plugin.core.outcomes import reason_words
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus
from safe_clear_plugin.core.plan_records import BatchRecord
from safe_clear_plugin.core.planned_rows import PlannedRun, PlannedTaskInstance
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.core.stop_reason import write_problem
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.clear.confirm import unmet_without_confirmation
from safe_clear_plugin.services.clear.waves import wave_progress
from safe_clear_plugin.services.webhook.undelivered import undelivered
from safe_clear_plugin.web.api.queries import PageQuery
from safe_clear_plugin.web.api.wave_json import waves_json
from safe_clear_plugin.web.app.authorization import redact
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported_json

FIRST_PAGE = PageQuery()


def iso(moment: datetime | None) -> str | None:
    """Return a moment in ISO 8601."""
    return moment.isoformat() if moment else None


def problem_json(problem: Problem | None) -> dict[str, str] | None:
    """Return the reason and the remedy of a problem, if there is one."""
    return {"reason": problem.reason, "remedy": problem.remedy} if problem else None


def status_for_programs(shown: ShownStatus) -> ShownStatus:
    """Return the status in an answer: programs tell an interrupted clear by ``interrupted``."""
    return ShownStatus.APPLYING if shown == ShownStatus.INTERRUPTED else shown


def summary_json(plan: PlanSummary, now: datetime) -> dict[str, Any]:
    """Return a plan as it stands in the list of plans."""
    return {
        "id": plan.id,
        "status": status_for_programs(plan.shown_status(now)),
        "interrupted": plan.is_interrupted,
        "dag_id": plan.dag_id,
        "sentence": plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "task_instances": plan.task_instances,
        "dag_runs": plan.dag_runs,
        "cleared": plan.cleared,
        "put_back": plan.put_back,
        "stayed": plan.stayed,
        **confirmed_json(plan),
        "finished_at": iso(plan.finished_at),
        "problem": write_problem(plan.stop_reason, plan.left_out),
        "acknowledged": list(plan.acknowledged),
        **approval_json(plan),
        "change_set": plan.change_set_id,
    }


def confirmed_json(of: PlanSummary | ChangeSet) -> dict[str, Any]:
    """Return who made and confirmed a plan or a change set, when and why."""
    return {
        "created_by": of.created_by_name,
        "created_at": iso(of.created_at),
        "expires_at": iso(of.expires_at),
        "reason": of.reason,
        "applied_by": of.applied_by_name,
        "applied_at": iso(of.applied_at),
    }


def approval_json(plan: PlanSummary) -> dict[str, Any]:
    """Return the decision of a second person; that on a change set is stored with its first plan."""
    return {
        "approval_asked_at": iso(plan.approval_asked_at),
        "approved_by": plan.approved_by_name,
        "declined_by": plan.declined_by_name,
        "declined_at": iso(plan.declined_at),
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
        "waves": waves_json(plan, wave_progress(plan, session)),
        "estimate": plan.estimate.to_json() if plan.estimate else None,
        "required": _required_json(plan, session),
        "unsupported": unsupported_json(),
        "undelivered": [message.to_json() for message in undelivered(plan, session)],
    }


def _batch_json(batch: BatchRecord) -> dict[str, Any]:
    return {
        "number": batch.number,
        "kind": batch.kind,
        "at": iso(batch.at),
        "by": batch.by_name,
        "reason": batch.reason,
        "dag_runs": batch.dag_runs,
        "task_instances": batch.task_instances,
        "stayed": batch.stayed,
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
        "logical_date": iso(run.logical_date),
        "partition_key": run.partition_key,
        "partition_date": iso(run.partition_date),
        "before": {"state": run.state},
        "after": {"state": run.after_state},
        "task_instances": run.task_instances,
        "applied_at": iso(run.applied_at),
        "batch": run.batch,
        "undone_at": iso(run.undone_at),
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
        "rendered_map_index": row.rendered_map_index,
        "effect": row.effect.shown,
        "by": "scheduler" if row.effect in SCHEDULER_EFFECTS else "clear",
        "why": row.why,
        "outcome": row.outcome,
        "outcome_why": reason_words(row.outcome_reason),
        "before": before,
        "after": {"state": row.after_state, "max_tries": row.after_max_tries},
    }


def _required_json(plan: PlanSummary, session: Session) -> list[dict[str, Any]]:
    """Return what a confirmation by the caller would lack that says nothing."""
    return [one.to_json() for one in unmet_without_confirmation(plan, caller().id, session)]
