"""Change sets as JSON, for programs and for pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus
from safe_clear_plugin.core.stop_reason import write_problem
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services.change_sets.confirm import unmet_without_set_confirmation
from safe_clear_plugin.services.change_sets.driving import as_driven
from safe_clear_plugin.services.change_sets.stored import without_hidden_dags
from safe_clear_plugin.services.change_sets.undo import SetUndoPreview
from safe_clear_plugin.services.change_sets.waiting import WaitingDags
from safe_clear_plugin.services.change_sets.waves import set_wave_progress
from safe_clear_plugin.services.webhook.undelivered import undelivered
from safe_clear_plugin.web.api.serializers import (
    approval_json,
    confirmed_json,
    iso,
    problem_json,
    status_for_programs,
    summary_json,
)
from safe_clear_plugin.web.api.step_json import RETRY_AFTER, undo_preview_json
from safe_clear_plugin.web.api.wave_json import waves_json
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import redact
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported_json


def change_set_json(of: ChangeSet, now: datetime, session: Session) -> dict[str, Any]:
    """Return a change set with its plans, as the caller may see it."""
    of = without_hidden_dags(as_driven(of, session), caller().user, session)
    shown, plans, first = of.shown_status(now), of.plans, of.plans[0]
    stopped = of.stopped_plan if shown in (ShownStatus.STOPPED, ShownStatus.STALE) else None
    return {
        "id": of.id,
        "status": status_for_programs(shown),
        "interrupted": of.is_interrupted,
        "fingerprint": of.fingerprint,
        "url": change_set_path(of.id),
        **_counts_json(of),
        "made_from": dict(of.made_from),
        "left_out": [dag.to_json() for dag in of.left_out],
        **confirmed_json(of),
        "finished_at": iso(_finished_at(plans)),
        **approval_json(first),
        "stopped_by": stopped.dag_id if stopped else None,
        "problem": write_problem(stopped.stop_reason, None) if stopped else None,
        "waves": waves_json(of.paced_plan, set_wave_progress(of, session)),
        "plans": [_plan_json(plan, now) for plan in plans],
        "findings": _findings_json(of, session),
        "required": [one.to_json() for one in unmet_without_set_confirmation(of, caller().id, session)],
        "unsupported": unsupported_json(),
        "undelivered": [message.to_json() for message in undelivered(first, session)],
        "retry_after": RETRY_AFTER if of.is_under_way else 0,
    }


def sensors_json(found: WaitingDags) -> dict[str, Any]:
    """Return the sensors that wait for a plan."""
    return {
        "items": [
            {
                "dag_id": one.dag_id,
                "task_id": one.task_id,
                "awaited_dag_id": one.awaited_dag_id,
                "awaited_task_ids": list(one.awaited_task_ids),
                "execution_delta": one.delta.total_seconds() if one.delta is not None else None,
            }
            for one in found.sensors
        ],
        "hidden": found.hidden,
    }


def set_undo_preview_json(of: ChangeSet, found: SetUndoPreview) -> dict[str, Any]:
    """Return the preview of an undo of the set. The totals cover only counted plans."""
    return {
        "id": of.id,
        "task_instances": found.task_instances,
        "put_back": found.put_back,
        "stay": found.stay,
        "dag_runs_total": found.dag_runs,
        "whole_dag_runs": found.whole_runs,
        "complete": found.is_complete,
        "plans": [
            {
                "dag_id": plan.dag_id,
                "plan_id": plan.id,
                "counted": isinstance(preview, UndoPreview),
                **undo_preview_json(
                    plan, preview if isinstance(preview, UndoPreview) else UndoPreview(0, 0, 0, 0)
                ),
            }
            for plan, preview in found.plans
        ],
        "problem": problem_json(found.problem),
    }


def change_set_path(set_id: str) -> str:
    """Return the address of a change set's page, below the host."""
    return templating.url("change_set", set_id=set_id)


def _counts_json(of: ChangeSet) -> dict[str, Any]:
    return {
        "task_instances": of.task_instances,
        "dag_runs": of.dag_runs,
        "cleared": of.cleared,
        "cleared_runs": of.cleared_runs,
        "put_back": of.put_back,
        "stayed": of.stayed,
        "undone_runs": of.undone_runs,
        "under_undo": of.is_undoing,
    }


def _finished_at(plans: Sequence[PlanSummary]) -> datetime | None:
    """Return when the last of the plans was done; ``None`` while there is one that is not."""
    ends = [plan.finished_at for plan in plans]
    return max((end for end in ends if end), default=None) if all(ends) else None


def _plan_json(plan: PlanSummary, now: datetime) -> dict[str, Any]:
    return {
        **summary_json(plan, now),
        "position": plan.position,
        "fingerprint": plan.fingerprint,
        "url": templating.url("plan", plan_id=plan.id),
        "begun": plan.cleared_runs > 0,
        "cleared_runs": plan.cleared_runs,
        "undo_asked_runs": plan.undo_asked_runs,
        "undone_runs": plan.undone_runs,
        "under_undo": plan.is_undoing,
        "findings_not_checked": list(plan.findings_not_checked),
    }


def _findings_json(of: ChangeSet, session: Session) -> list[dict[str, Any]]:
    return [
        {**finding.to_json(), "dag_id": plan.dag_id, "plan_id": plan.id}
        for plan in of.plans
        for finding in redact(plan, session).findings
    ]
