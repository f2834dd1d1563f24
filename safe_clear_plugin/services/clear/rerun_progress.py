"""What became of a plan, and how its task instances re-run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_records import OtherClear
from safe_clear_plugin.core.states import DONE_STATES
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.plans import plan_list, plan_reader


@dataclass(frozen=True, slots=True)
class Progress:
    """The cleared task instances by their state now; ``done`` once none of them can change by itself."""

    by_state: list[tuple[str | None, int]]
    total: int
    done: bool
    checked_at: datetime


def progress(plan: PlanSummary, now: datetime, session: Session) -> Progress | None:
    """Count the task instances that the plan cleared by their state now, where Airflow's tables are known."""
    found = compatibility.find_unsupported()
    if found and not found.has_known_tables:
        return None
    by_state = plan_reader.states_now(UUID(plan.id), plan.dag_id, session)
    return Progress(
        by_state=by_state,
        total=sum(number for _, number in by_state),
        done=all(state in DONE_STATES for state, _ in by_state),
        checked_at=now,
    )


def is_in_progress(plan: PlanSummary, now: datetime) -> bool:
    """Whether somebody is clearing the plan: its last batch is recent, or one is in hand."""
    if plan.status != "applying":
        return False
    if not plan.is_interrupted(now):
        return True
    with new_session() as session:
        return status.is_held(UUID(plan.id), session)


def conflicting_clears(plan: PlanSummary, session: Session) -> list[OtherClear]:
    """Return the plans that cleared task instances of this one since it was made, the latest first."""
    return plan_list.other_clears(UUID(plan.id), plan.dag_id, plan.created_at, session)
