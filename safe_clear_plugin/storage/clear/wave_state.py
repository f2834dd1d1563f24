"""The state of a plan's waves, in columns of the plan's row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import null, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.core.waves import Decision, Waves, WaveState
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.plan_lock import take_plan
from safe_clear_plugin.storage.tables import plan


@dataclass(frozen=True, slots=True)
class WaveRow:
    """The waves of a plan that is being cleared, and the last decision."""

    waves: Waves | None
    state: WaveState | None
    reason: str | None
    """Why it waits for a person."""
    passed: bool
    """Whether a person went on after the first runs."""
    now: datetime
    """The database's time, by which a clear is due."""


def chosen(waves: Waves | None, now: datetime) -> dict[str, Any]:
    """Return the columns of a plan whose clear begins with these waves."""
    begun = {"wave_reason": None, "first_runs_passed": False}
    if waves is None:
        return {"waves": null(), "wave_state": None, **begun}
    waits = waves.not_before is not None and now < waves.not_before
    return {
        "waves": waves.to_json(),
        "wave_state": WaveState.SCHEDULED.value if waits else WaveState.CLEARING.value,
        **begun,
    }


def lock(plan_id: UUID, session: Session) -> bool:
    """Take the plan's row for a transaction. Returns whether the plan is being cleared."""
    return take_plan(plan_id, session, plan.c.status == PlanStatus.APPLYING.value)


def read(plan_id: UUID, session: Session) -> WaveRow | None:
    """Return how the waves of a plan stand, if it is being cleared."""
    row = session.execute(
        select(
            plan.c.waves,
            plan.c.wave_state,
            plan.c.wave_reason,
            plan.c.first_runs_passed,
            database_time().label("now"),
        ).where(plan.c.id == plan_id, plan.c.status == PlanStatus.APPLYING.value)
    ).one_or_none()
    if row is None:
        return None
    waves = Waves.from_json(row.waves) if row.waves else None
    state = WaveState(row.wave_state) if row.wave_state else None
    return WaveRow(waves, state, row.wave_reason, bool(row.first_runs_passed), row.now)


def keep(plan_id: UUID, decision: Decision, session: Session) -> None:
    """Keep what was decided, for the pages and the next look."""
    values = {
        "wave_state": (decision.state or WaveState.CLEARING).value,
        "wave_reason": decision.reason.value if decision.reason else None,
    }
    session.execute(update(plan).where(plan.c.id == plan_id).values(**values))


def write(plan_id: UUID, session: Session, **values: Any) -> None:
    """Write columns of the plan's row, whose lock the transaction has."""
    session.execute(update(plan).where(plan.c.id == plan_id).values(**values))
