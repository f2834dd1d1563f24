"""Waves of a clear that is in progress: their state, going on, and changing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import FailedRun, RunCounts, Waves, WaveState
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.change_set_members import require_single
from safe_clear_plugin.services.clear.wave_choice import require_future_time
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.clear import reruns, status, wave_state
from safe_clear_plugin.storage.clear.wave_state import WaveRow
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.webhook import outbox

LISTED = 10
"""Failed runs that a page names."""
LISTED_TASKS = 3
"""Failed tasks that it names of each."""


@dataclass(frozen=True, slots=True)
class WaveProgress:
    """The progress of the runs of a plan in waves, and the first of those that failed."""

    counts: RunCounts
    failed: tuple[FailedRun, ...] = ()


def wave_progress(plan: PlanSummary, session: Session, *, named: bool = False) -> WaveProgress | None:
    """Return how far the plan's runs have come, if it goes in waves and Airflow's tables are known.

    While a driver looks at them, as it saw them last: pages ask for it every other second. The failed runs
    are listed if ``named``.
    """
    found = compatibility.find_unsupported()
    if not plan.goes_in_waves or (found and not found.has_known_tables):
        return None
    plan_id = UUID(plan.id)
    is_followed = plan.status == PlanStatus.APPLYING and not plan.is_waiting_for_person
    counts = (
        reruns.count_kept(plan_id, session)
        if is_followed
        else reruns.count_now(plan_id, plan.dag_id, session)
    )
    if not named or not counts.failing + counts.failed:
        return WaveProgress(counts)
    failed = reruns.failed_runs(plan_id, plan.dag_id, session, limit=LISTED, tasks=LISTED_TASKS)
    return WaveProgress(counts, tuple(failed))


@dataclass(frozen=True, slots=True)
class NewWaves:
    """Waves that take the place of those that a plan has."""

    waves: Waves | None


def continue_plan(
    plan: PlanSummary,
    actor: Actor,
    now: datetime,
    *,
    skip_failed: bool = False,
    change: NewWaves | None = None,
    reason: str = "",
) -> PlanSummary:
    """Go on with a clear that waits for a person, in the name of the actor, and return the plan.

    The runs that failed are judged again first, as somebody may have cleared them again: where some are still
    failed, it takes ``skip_failed``.

    :raises Refused: 409 when the plan does not wait for a person, or runs are failed
    """
    compatibility.require_supported()
    require_single(plan)
    if change:
        require_future_time(change.waves, now)
    retrying(_continue, plan, actor, now, skip_failed=skip_failed, change=change, reason=reason)
    wake_up()
    return get_plan(plan.id)


def _continue(
    plan: PlanSummary, actor: Actor, now: datetime, *, skip_failed: bool, change: NewWaves | None, reason: str
) -> None:
    plan_id = UUID(plan.id)
    with new_session() as session:
        row = wave_state.read(plan_id, session) if wave_state.lock(plan_id, session) else None
        if row is None or row.state is not WaveState.WAITING_FOR_PERSON:
            raise _not_waiting(plan)
        if retention.is_over_in(plan, now, session):
            raise Refused(409, Problem("The plan is too old to continue.", "Preview the rest as a new plan."))
        reruns.judge(plan_id, plan.dag_id, session, reopen=True)
        counts = reruns.count_kept(plan_id, session)
        if counts.failures and not skip_failed:
            raise still_failed(counts.failures)
        if skip_failed:
            reruns.skip_failures(plan_id, session)
        waves = change.waves if change else row.waves
        passed = is_past_first_runs(waves, counts) or (row.passed and not change)
        values = {
            **(wave_state.chosen(waves, now) if change else {"wave_state": WaveState.CLEARING.value}),
            "wave_reason": None,
            "first_runs_passed": passed,
            **status.asked_by(actor, reason or plan.request_reason),
        }
        wave_state.write(plan_id, session, **values)
        details: dict[str, Any] = {
            "waited_because": plan.wave_reason,
            "skipped_failed": counts.failures if skip_failed else 0,
        }
        entry = audit_log.Entry(
            audit_log.CONTINUE_EVENT, plan, reason, actor, {**details, **recorded(change)}
        )
        audit_log.record_decision(entry, session)
        outbox.tell(Event.RESUMED, plan_id, session, by=actor.name, reason=reason or plan.request_reason)


def is_past_first_runs(waves: Waves | None, counts: RunCounts) -> bool:
    """Whether a person who goes on now has seen the results of the first runs."""
    first = waves.first_runs if waves else None
    return first is not None and counts.cleared >= first and not counts.unfinished


def change_waves(
    plan: PlanSummary, change: NewWaves, actor: Actor, now: datetime, *, reason: str = ""
) -> PlanSummary:
    """Change the waves of a clear in progress; a clear that waits for a person continues to wait.

    :raises Refused: 409 when the plan is not being cleared
    """
    compatibility.require_supported()
    require_single(plan)
    require_future_time(change.waves, now)
    retrying(_change, plan, change, actor, now, reason=reason)
    wake_up()
    return get_plan(plan.id)


def _change(plan: PlanSummary, change: NewWaves, actor: Actor, now: datetime, *, reason: str) -> None:
    plan_id = UUID(plan.id)
    with new_session() as session:
        row = wave_state.read(plan_id, session) if wave_state.lock(plan_id, session) else None
        if row is None:
            raise _not_under_way(plan)
        values = wave_state.chosen(change.waves, now)
        if row.state is WaveState.WAITING_FOR_PERSON:
            values |= {"wave_state": row.state.value, "wave_reason": row.reason}
        else:
            values["next_step_at"] = database_time()
        counts = reruns.count_kept(plan_id, session)
        passed = row.passed and not has_more_first_runs(change.waves, row, counts)
        wave_state.write(plan_id, session, **{**values, "first_runs_passed": passed})
        entry = audit_log.Entry(audit_log.WAVES_EVENT, plan, reason, actor, recorded(change))
        audit_log.record_decision(entry, session)


def has_more_first_runs(waves: Waves | None, row: WaveRow, counts: RunCounts) -> bool:
    """Whether new waves have first runs that are not cleared yet, so that a person is asked again."""
    before = row.waves.first_runs if row.waves else None
    return waves is not None and waves.first_runs != before and (waves.first_runs or 0) > counts.cleared


def recorded(change: NewWaves | None) -> dict[str, Any]:
    """Return what the audit log says of new waves."""
    return {"waves": change.waves.to_json() if change.waves else None} if change else {}


def _not_waiting(plan: PlanSummary) -> Refused:
    found = get_plan(plan.id)
    details = {"status": found.status, "wave_state": found.wave_state}
    if found.status == PlanStatus.APPLYING:
        problem = Problem(
            "The plan does not wait for a person.", "It goes on by itself. Its page shows the progress."
        )
    elif found.status == PlanStatus.STOPPED:
        problem = Problem("The plan was stopped.", "Resume it on its page, or undo it.")
    else:
        problem = Problem("The plan is not being cleared.", "Its page shows its state.")
    return Refused(409, problem, details)


def still_failed(failures: int) -> Refused:
    """Return the refusal to continue although runs failed."""
    return Refused(
        409,
        Problem(
            f"{count(failures, 'run')} of this clear failed.",
            "Nothing was cleared. Clear them again in Airflow and go on once they succeeded, or go on "
            "without them (`skip_failed`). You can also stop, or undo.",
        ),
        {"failed_runs": failures},
    )


def _not_under_way(plan: PlanSummary) -> Refused:
    return Refused(
        409,
        Problem("The plan is not being cleared.", "Choose the waves when you clear or resume it."),
        {"status": plan.status},
    )
