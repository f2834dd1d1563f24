"""The result of a plan, and the progress of its re-runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.core.foreseen import Comparison, compare_all
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_records import DriverState, OtherClear
from safe_clear_plugin.core.states import DONE_STATES
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.driver import leases
from safe_clear_plugin.storage.plans import plan_counts, plan_list
from safe_clear_plugin.storage.plans.outcomes_now import outcomes_now


@dataclass(frozen=True, slots=True)
class Progress:
    """The cleared task instances by their state now; ``done`` once none of them can change by itself."""

    by_state: list[tuple[str | None, int]]
    total: int
    done: bool
    checked_at: datetime
    comparison: Comparison
    """The foreseen outcomes, compared with the present states."""


def progress(plan: PlanSummary, now: datetime, session: Session) -> Progress | None:
    """Count the task instances that the plan cleared by their state now, where Airflow's tables are known."""
    found = compatibility.find_unsupported()
    if found and not found.has_known_tables:
        return None
    with hash_joins(session):
        by_state = plan_counts.states_now(UUID(plan.id), plan.dag_id, session)
        outcomes = outcomes_now(UUID(plan.id), plan.dag_id, session)
    return Progress(
        by_state=by_state,
        total=sum(number for _, number in by_state),
        done=all(state in DONE_STATES for state, _ in by_state),
        checked_at=now,
        comparison=compare_all(outcomes),
    )


def driver_state(plan: PlanSummary, session: Session) -> DriverState:
    """Return the driver of the plan, and whether one is missing: a long batch can outlast its lease."""
    state = leases.state_of(UUID(plan.id), session)
    if state.is_missing and status.is_held(UUID(plan.id), session):
        return replace(state, is_working=True, is_missing=False)
    return state


def conflicting_clears(plan: PlanSummary, session: Session) -> list[OtherClear]:
    """Return the plans that cleared task instances of this one since it was made, the latest first."""
    return plan_list.other_clears(UUID(plan.id), plan.dag_id, plan.created_at, session)
