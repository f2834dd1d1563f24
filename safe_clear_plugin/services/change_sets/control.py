"""Stopping a change set that is in progress, and continuing a stopped one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.stop_reason import NOT_RESUMABLE
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace, WaveState
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.change_sets.claim import set_claim_error
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.clear import counted_runs
from safe_clear_plugin.services.clear.apply import stop_in
from safe_clear_plugin.services.clear.claim import require_resumable, require_supported_database
from safe_clear_plugin.services.clear.wave_choice import require_future_time
from safe_clear_plugin.services.clear.waves import NewWaves, is_past_first_runs, recorded, still_failed
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import status, wave_state
from safe_clear_plugin.storage.webhook import outbox

NOTHING_DONE = "Nothing was continued."


def stop_change_set(of: ChangeSet, actor: Actor, now: datetime, *, only_waiting: bool = False) -> ChangeSet:
    """Stop all work on the set after the current batch. A set without work in progress is returned as it is.

    With ``only_waiting``, stop only a clear that waits for a person, and no undo.
    """
    retrying(_stop, of, actor, now, only_waiting=only_waiting)
    return get_change_set(of.id)


def _stop(of: ChangeSet, actor: Actor, now: datetime, *, only_waiting: bool) -> None:
    with new_session() as session:
        turns.lock_all(UUID(of.id), session)
        # The plan that is being cleared stops the plans behind it.
        stopped = [
            (event, plan)
            for plan in of.plans
            if (event := stop_in(plan, actor, now, session, only_waiting=only_waiting)) is not None
        ]
        if stopped:
            turns.give_turn(of.plans[0], session)
            event, plan = next((one for one in stopped if one[0] is Event.STOPPED), stopped[0])
            outbox.tell(event, UUID(plan.id), session, by=actor.name)


def continue_change_set(
    of: ChangeSet,
    actor: Actor,
    now: datetime,
    *,
    reason: str = "",
    skip_stopped: bool = False,
    skip_failed: bool = False,
    change: NewWaves | None = None,
) -> ChangeSet:
    """Continue a set that stopped or that waits for a person, in the name of the actor, and return it.

    If cleared runs failed, the request needs ``skip_failed``. A plan that would only stop again, because the
    database has changed, is refused. With ``skip_stopped`` that plan stays as it is, and the plans behind it
    continue. New waves take the place of those that the set has.

    :raises Refused: 409 when the set neither stopped nor waits, when runs are failed, when plans would stop
        again, naming the DAGs, or when no plan is left to continue
    """
    compatibility.require_supported()
    if change:
        require_future_time(change.waves, now)
    if waiting := of.waiting_plan:
        retrying(_pass_wait, of, waiting, actor, now, reason=reason, skip_failed=skip_failed, change=change)
        wake_up()
        return get_change_set(of.id)
    if of.shown_status(now) != ShownStatus.STOPPED:
        raise _not_stopped(of, now)
    going_on = _plans_that_go_on(of, now, skip_stopped=skip_stopped)
    pace = Pace(change.waves, is_chosen=True) if change else ALL_AT_ONCE
    retrying(_continue, of, going_on, actor, now, reason=reason, pace=pace)
    wake_up()
    after = get_change_set(of.id)
    if not after.is_applying and after.shown_status(now) != ShownStatus.APPLIED:
        raise set_claim_error(after, now)
    return after


def _plans_that_go_on(of: ChangeSet, now: datetime, *, skip_stopped: bool) -> list[PlanSummary]:
    """Return the stopped plans but for those that would only stop again, which are refused or skipped."""
    stopped = [plan for plan in of.plans if plan.status == PlanStatus.STOPPED]
    would_stop = [found for plan in stopped if (found := _cannot_go_on(plan, now))]
    if not skip_stopped:
        refuse(would_stop, NOTHING_DONE)
    left_as_they_are = {one.dag_id for one in would_stop}
    going_on = [plan for plan in stopped if plan.dag_id not in left_as_they_are]
    if not going_on:
        raise Refused(
            409,
            Problem("No plan of this change set can go on.", f"{NOTHING_DONE} Preview the rest again."),
            {"dags": [one.to_json() for one in would_stop]},
        )
    return going_on


def _pass_wait(
    of: ChangeSet,
    plan: PlanSummary,
    actor: Actor,
    now: datetime,
    *,
    reason: str,
    skip_failed: bool,
    change: NewWaves | None,
) -> None:
    """Let the waves continue. Before that, the failed runs of all plans of the set are judged again."""
    plan_id, set_id = UUID(plan.id), UUID(of.id)
    with new_session() as session:
        turns.lock_all(set_id, session)
        row = wave_state.read(plan_id, session) if wave_state.lock(plan_id, session) else None
        if row is None or row.state is not WaveState.WAITING_FOR_PERSON:
            raise _not_stopped(get_change_set(of.id), now)
        if retention.is_over_in(plan, now, session):
            raise Refused(409, Problem("The change set is too old to continue.", "Preview it again."))
        counted_runs.judge(plan, session, reopen=True)
        counts = counted_runs.count_kept(plan, session)
        if counts.failures and not skip_failed:
            raise still_failed(counts.failures)
        if skip_failed:
            counted_runs.skip_failures(plan, session)
        waves = change.waves if change else row.waves
        passed = is_past_first_runs(waves, counts) or (row.passed and not change)
        asked_by = status.asked_by(actor, reason or plan.request_reason)
        due = {"next_step_at": asked_by.pop("next_step_at")}
        begun = wave_state.chosen(waves, now) if change else {}
        of_all = {**begun, **asked_by, "first_runs_passed": passed}
        in_turn = {"wave_state": WaveState.CLEARING.value, "wave_reason": None, **due}
        turns.write_under_way(set_id, session, **of_all)
        wave_state.write(plan_id, session, **{**in_turn, **begun, "first_runs_passed": passed})
        skipped = counts.failures if skip_failed else 0
        _record_pass(plan, actor, session, reason=reason, skipped=skipped, change=change)


def _record_pass(
    plan: PlanSummary,
    actor: Actor,
    session: Session,
    *,
    reason: str,
    skipped: int,
    change: NewWaves | None,
) -> None:
    details = {
        "waited_because": plan.wave_reason,
        "skipped_failed": skipped,
        "change_set": plan.change_set_id,
        **recorded(change),
    }
    entry = audit_log.Entry(audit_log.CONTINUE_EVENT, plan, reason, actor, details)
    audit_log.record_decision(entry, session)
    outbox.tell(Event.RESUMED, UUID(plan.id), session, by=actor.name, reason=reason or plan.request_reason)


def _cannot_go_on(plan: PlanSummary, now: datetime) -> RefusedDag | None:
    """Return the reason why a stopped plan would only stop again."""
    why = plan.stop_reason
    if plan.undo_asked_runs:
        reason, remedy = "The plan has been undone, so it can't continue.", "Preview the selection again."
    elif why and why.kind in NOT_RESUMABLE:
        reason, remedy = why.reason, "Send `skip_stopped` to go on without it."
    else:
        try:
            require_resumable(plan, now)
        except Refused as refused:
            return RefusedDag(plan.dag_id, 409, refused.problem.reason, refused.problem.remedy)
        return None
    return RefusedDag(plan.dag_id, 409, reason, remedy)


def _continue(
    of: ChangeSet, going_on: Sequence[PlanSummary], actor: Actor, now: datetime, *, reason: str, pace: Pace
) -> None:
    with new_session() as session:
        turns.lock_all(UUID(of.id), session)
        resumed = [plan for plan in going_on if _resume(plan, actor, now, session, reason=reason, pace=pace)]
        require_supported_database(session)
        if len(resumed) < len(going_on):
            # Another person was faster, or asked for an undo.
            session.rollback()
            return
        turns.let_wait([UUID(plan.id) for plan in resumed], session)
        turns.go_on_with_clear(UUID(of.id), session)
        waiting = (plan for plan in resumed if plan.wave_state is WaveState.WAITING_FOR_PERSON)
        waits = None if pace.is_chosen else next(waiting, None)
        outbox.tell(Event.RESUMED, UUID(resumed[0].id), session, by=actor.name, reason=reason or of.reason)
        if waits:
            # The plan waits for a person again, as it did when it was stopped.
            outbox.tell(Event.WAITING, UUID(waits.id), session)


def _resume(
    plan: PlanSummary, actor: Actor, now: datetime, session: Session, *, reason: str, pace: Pace
) -> bool:
    why = plan.stop_reason
    if not status.resume(plan, actor, now, session, reason=reason or plan.reason, pace=pace):
        return False
    details = {
        "applied_by": plan.applied_by_name,
        "status_before": plan.status,
        "stopped_because": why.kind if why else None,
        "change_set": plan.change_set_id,
    }
    entry = audit_log.Entry(audit_log.RESUME_EVENT, plan, reason, actor, details)
    audit_log.record_decision(entry, session)
    return True


def _not_stopped(of: ChangeSet, now: datetime) -> Refused:
    shown = of.shown_status(now)
    if of.is_ready:
        problem = Problem("The change set has not been applied.", "Confirm it.")
    elif of.is_applying:
        problem = Problem("The change set goes on by itself.", "Its page shows the progress.")
    else:
        return set_claim_error(of, now)
    return Refused(409, problem, {"status": shown})
