"""The status and the progress of a change set, for its progress page and for requests after a lost answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_turns import turns_of
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.services.change_sets.driving import as_driven
from safe_clear_plugin.services.change_sets.reruns import Reruns
from safe_clear_plugin.services.change_sets.waves import set_wave_progress
from safe_clear_plugin.services.receipt import undo_progress
from safe_clear_plugin.web.api.serializers import iso, status_for_programs
from safe_clear_plugin.web.api.step_json import RETRY_AFTER
from safe_clear_plugin.web.api.wave_json import waves_json


@dataclass(frozen=True, slots=True)
class Standing:
    """The values that change with each step of a set, named as for a plan."""

    status: ShownStatus
    undo_asked_runs: int
    last_step_at: datetime | None


def standing(of: ChangeSet, now: datetime) -> Standing:
    """Return the status of the set as in ``progress.json``."""
    return Standing(
        status=status_for_programs(of.shown_status(now)),
        undo_asked_runs=sum(plan.undo_asked_runs for plan in of.plans),
        last_step_at=max((plan.last_step_at for plan in of.plans if plan.last_step_at), default=None),
    )


def undo_totals(of: ChangeSet, session: Session) -> dict[str, Any]:
    """Return the progress of the set's undo, over all its plans."""
    asked = [undo_progress(plan, session) for plan in of.plans if plan.undo_asked_runs]
    return {
        "under_way": of.is_undoing,
        "done": sum(one.done for one in asked),
        "total": sum(one.total for one in asked),
        "dag_runs_done": sum(one.dag_runs_done for one in asked),
        "dag_runs_total": sum(one.dag_runs_total for one in asked),
        "put_back": of.put_back,
        "stayed": of.stayed,
    }


def progress_json(of: ChangeSet, reruns: Reruns | None, now: datetime, session: Session) -> dict[str, Any]:
    """Return the progress of clear and undo and, unless one is in progress, the states of the re-runs."""
    of = as_driven(of, session)
    found = standing(of, now)
    return {
        "id": of.id,
        "status": found.status,
        "interrupted": of.is_interrupted,
        "done": of.cleared,
        "total": of.task_instances,
        "dag_runs_done": of.cleared_runs,
        "dag_runs_total": of.dag_runs,
        "cleared_at": iso(found.last_step_at),
        "waves": waves_json(of.paced_plan, set_wave_progress(of, session)),
        "undo": undo_totals(of, session),
        "plans": [
            {
                "id": plan.id,
                "dag_id": plan.dag_id,
                "turn": turn,
                "done": plan.cleared,
                "total": plan.task_instances,
                "put_back": plan.put_back,
                "stayed": plan.stayed,
            }
            for plan, turn in zip(of.plans, turns_of(of.plans), strict=True)
        ],
        "by_state": [list(item) for item in reruns.by_state] if reruns else None,
        "finished": reruns.done if reruns else None,
        "checked_at": iso(now),
        "retry_after": RETRY_AFTER if of.is_under_way else 0,
    }
