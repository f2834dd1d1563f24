"""The runs of a plan that may be cleared now, by its waves."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.waves import Decision, RunOrder, WaveState, decide
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services.clear import counted_runs
from safe_clear_plugin.services.clear.scheduler_turns import NotYet
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import wave_state
from safe_clear_plugin.storage.clear.wave_state import WaveRow
from safe_clear_plugin.storage.driver import leases
from safe_clear_plugin.storage.webhook import outbox

LOOK_AGAIN = 5.0
"""Seconds after which a driver checks the runs again that it waits for."""
CHANGED = 0.1
"""Seconds after which it looks again where somebody changed the waves between its look and the batch."""


@dataclass(frozen=True, slots=True)
class Look:
    """Whether the waves let the driver clear now, and else after how many seconds to look again.

    ``None`` when a person has to decide first, or the plan is not the driver's any more.
    """

    may_clear: bool
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The runs that may be cleared now: ``most`` of them, in this order; ``None`` sets no limit."""

    most: int | None = None
    order: RunOrder | None = None


def look(plan: PlanSummary, driver: str) -> Look:
    """Judge the progress of the plan's runs, decide the next step, and store both with the plan.

    The time of the next check is written in the same transaction, under the lock of the plan's row. So an
    earlier decision overrules nobody who continues or changes the waves.
    """
    plan_id = UUID(plan.id)
    with new_session() as session:
        turns.lock_with_others(plan, session)
        if not leases.hold(plan_id, driver, session):
            return Look(may_clear=False)
        row = wave_state.read(plan_id, session)
        if row is not None and row.state is WaveState.WAITING_FOR_PERSON:
            leases.rest(plan_id, driver, session)
            return Look(may_clear=False)
        if row is None or row.waves is None:
            return Look(may_clear=True)
        counted_runs.judge(plan, session)
        decision = _decide(plan, row, session)
        wave_state.keep(plan_id, decision, session)
        if decision.state in (None, WaveState.CLEARING):
            return Look(may_clear=True)
        if decision.state is WaveState.WAITING_FOR_PERSON:
            leases.rest(plan_id, driver, session)
            outbox.tell(Event.WAITING, plan_id, session)
            return Look(may_clear=False)
        seconds = (decision.until - row.now).total_seconds() if decision.until else LOOK_AGAIN
        leases.put_off(plan_id, driver, seconds, session)
        return Look(may_clear=False, seconds=seconds)


def released_runs(plan: PlanSummary, session: Session) -> Released:
    """Return which runs may be cleared now, as they were judged last.

    Called in the clearing transaction, which holds the plan's row: runs that another driver has cleared
    since the last check count.

    :raises NotYet: when it takes another look
    """
    row = wave_state.read(UUID(plan.id), session)
    if row is not None and row.state is WaveState.WAITING_FOR_PERSON:
        raise NotYet(CHANGED)
    if row is None or row.waves is None:
        return Released()
    decision = _decide(plan, row, session)
    if decision.state not in (None, WaveState.CLEARING):
        raise NotYet(CHANGED)
    return Released(decision.runs, row.waves.order)


def _decide(plan: PlanSummary, row: WaveRow, session: Session) -> Decision:
    if row.waves is None:
        return Decision(WaveState.CLEARING)
    return decide(row.waves, counted_runs.count_kept(plan, session), row.now, passed=row.passed)
