"""The waves of a change set: the runs of its plans are counted together, and its plans change together."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import WaveState, add_counts
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.clear import counted_runs
from safe_clear_plugin.services.clear.wave_choice import require_future_time
from safe_clear_plugin.services.clear.waves import (
    NewWaves,
    WaveProgress,
    has_more_first_runs,
    recorded,
    wave_progress,
)
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import wave_state
from safe_clear_plugin.storage.database_clock import database_time


def set_wave_progress(of: ChangeSet, session: Session) -> WaveProgress | None:
    """Return the progress of the set's runs, if it goes in waves and Airflow's tables are known."""
    if not of.paced_plan.goes_in_waves:
        return None
    found = [wave_progress(plan, session) for plan in of.plans]
    known = [one.counts for one in found if one is not None]
    return WaveProgress(add_counts(known)) if len(known) == len(found) else None


def change_set_waves(
    of: ChangeSet, change: NewWaves, actor: Actor, now: datetime, *, reason: str = ""
) -> ChangeSet:
    """Change the waves of a set in progress; a set that waits for a person continues to wait.

    :raises Refused: 409 when no plan of the set is being cleared, 422 when the time is over
    """
    compatibility.require_supported()
    require_future_time(change.waves, now)
    retrying(_change, of, change, actor, now, reason=reason)
    wake_up()
    return get_change_set(of.id)


def _change(of: ChangeSet, change: NewWaves, actor: Actor, now: datetime, *, reason: str) -> None:
    """Write the waves to each plan that is under way; the one whose turn it is has the state of all."""
    set_id = UUID(of.id)
    with new_session() as session:
        turns.lock_all(set_id, session)
        plan_id = turns.in_turn(set_id, session)
        row = wave_state.read(plan_id, session) if plan_id and wave_state.lock(plan_id, session) else None
        if plan_id is None or row is None:
            raise _not_under_way(of, now)
        plan = next(one for one in of.plans if UUID(one.id) == plan_id)
        counts = counted_runs.count_kept(plan, session)
        passed = row.passed and not has_more_first_runs(change.waves, row, counts)
        values = {**wave_state.chosen(change.waves, now), "first_runs_passed": passed}
        turns.write_under_way(set_id, session, **values)
        if row.state is WaveState.WAITING_FOR_PERSON:
            turn = {"wave_state": row.state.value, "wave_reason": row.reason}
        else:
            turn = {"next_step_at": database_time()}
        wave_state.write(plan_id, session, **turn)
        details = {**recorded(change), "change_set": of.id}
        audit_log.record_decision(
            audit_log.Entry(audit_log.WAVES_EVENT, plan, reason, actor, details), session
        )


def _not_under_way(of: ChangeSet, now: datetime) -> Refused:
    return Refused(
        409,
        Problem("The change set is not being cleared.", "Choose the waves when you clear or continue it."),
        {"status": get_change_set(of.id).shown_status(now)},
    )
