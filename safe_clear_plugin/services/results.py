"""What became of a plan, and how its task instances re-run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage import applying, reading

SILENT_FOR = timedelta(minutes=10)
"""A clear that got nothing done for so long is taken to have died with its server process."""

DONE_STATES = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass(frozen=True, slots=True)
class Progress:
    """The cleared task instances by their state now; ``done`` once none of them can change by itself."""

    by_state: list[tuple[str | None, int]]
    total: int
    done: bool
    checked_at: datetime


def progress(plan: PlanSummary, now: datetime, session: Session) -> Progress:
    """Count the task instances that the plan cleared by their state now."""
    by_state = reading.states_now(UUID(plan.id), plan.dag_id, session)
    return Progress(
        by_state=by_state,
        total=sum(number for _, number in by_state),
        done=all(state in DONE_STATES for state, _ in by_state),
        checked_at=now,
    )


def settle(plan: PlanSummary, now: datetime) -> PlanSummary:
    """Return the plan, marked as stopped if the process that was clearing it has died."""
    if plan.status != "applying":
        return plan
    plan_id = UUID(plan.id)
    with new_session() as session:
        last = applying.last_step_at(plan_id, session)
        if last is None or now - last < SILENT_FOR or applying.is_being_cleared(plan_id, session):
            return plan
        problem = {
            "kind": "interrupted",
            "reason": "The server process that cleared this plan ended before it was done.",
            "remedy": "Each dag run was cleared whole or not at all. Preview again for the rest.",
        }
        applying.transition(plan_id, "applying", "stopped", session, problem=problem, finished_at=now)
    with new_session() as session:
        return reading.get(plan_id, session) or plan
