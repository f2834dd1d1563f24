"""One step of a plan: the next batch of its clear or undo, with retries, or the reason to stop."""

from __future__ import annotations

import logging
from uuid import UUID

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from safe_clear_plugin.airflow_api.platform import database_errors
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.core.stop_reason import StopKind, StopReason
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.clear import stop_texts
from safe_clear_plugin.services.clear.batch_errors import (
    AirflowChanged,
    DriftError,
    MismatchError,
)
from safe_clear_plugin.services.clear.clear_batch import clear_next_batch
from safe_clear_plugin.services.clear.release import look
from safe_clear_plugin.services.clear.scheduler_turns import NotYet
from safe_clear_plugin.services.clear.slow_batches import RunTooSlow
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.undo.undo_batch import NotAsBefore, undo_next_batch
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import status
from safe_clear_plugin.storage.driver import leases
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.undo import left_out_runs
from safe_clear_plugin.storage.webhook import outbox

log = logging.getLogger(__name__)

AT_ONCE = 3
"""So often is a batch tried that the database refuses for a reason which may be gone the next moment."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before it is tried again after that, where the database is busy; then the plan stops."""
BETWEEN_TRIES = 0.2
UNREADABLE = 60.0
PASSING = ("database_busy", "database_unreachable", "database_read_only")


def take_step(plan_id: UUID, driver: str, failed_before: int) -> float | None:
    """Clear or undo the next batch of a plan that the driver has leased.

    What keeps it from its end stops the clear, or gives the undo up, with the reason on the plan's page.
    ``failed_before`` is how often in a row the database has refused this batch.

    :returns: the seconds after which there is more to do, ``None`` when nobody has to come back
    :raises StepFailed: when the database refused the batch, and it is to be tried again
    :raises OutOfTurn: when it is not this plan's turn, so that the batch was not tried
    :raises SQLAlchemyError: when not even that can be noted
    """
    plan = _read(plan_id, driver)
    if plan is None:
        return None
    step = _clear if plan.status == PlanStatus.APPLYING else _undo
    try:
        return step(plan, driver)
    except NotYet as not_yet:
        raise OutOfTurn(_put_off(plan_id, driver, not_yet.seconds)) from not_yet
    except SQLAlchemyError as error:
        if (pause := _pause_after(error, failed_before)) is not None:
            _put_off(plan_id, driver, pause)
            raise StepFailed(pause) from error
        _give_up_after(plan, driver, error)
    except Exception as error:  # noqa: BLE001
        # Any error is logged and stops the plan, and the driver goes on with the other plans.
        _give_up_after(plan, driver, error)
    return None


class StepFailed(Exception):
    """The database refused a batch that is to be tried again after some ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s")
        self.seconds = seconds


class OutOfTurn(Exception):
    """Nothing was tried. After ``seconds`` there is more to do; ``None`` if another driver has the plan."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(str(seconds))
        self.seconds = seconds


def _read(plan_id: UUID, driver: str) -> PlanSummary | None:
    """Return the plan, if there is one that can be read: a later Safe Clear may have written it."""
    with new_session() as session:
        try:
            return plan_reader.get(plan_id, session)
        except (Invalid, KeyError, TypeError, ValueError) as error:
            failures.explain(error, f"reading plan {plan_id.hex}")
    _put_off(plan_id, driver, UNREADABLE)
    return None


def _clear(plan: PlanSummary, driver: str) -> float | None:
    if plan.goes_in_waves and not (found := look(plan, driver)).may_clear:
        return found.seconds
    try:
        clear_next_batch(plan, driver)
    except DriftError as drifted:
        _stop(plan, driver, stop_texts.drift(drifted.rows, drifted.total, drifted.cause))
    except MismatchError as mismatched:
        log.error("Plan %s was rolled back: %s", plan.id, "; ".join(map(str, mismatched.found)))
        _stop(plan, driver, stop_texts.mismatch(mismatched.found))
    except AirflowChanged as changed:
        log.error("Plan %s stopped: %s", plan.id, changed)
        _stop(plan, driver, stop_texts.airflow_changed(changed.kind, changed.problem))
    except RunTooSlow as slow:
        _stop(plan, driver, stop_texts.failure(StopKind.BUSY, slow.error, UUID(plan.id)))
    else:
        return 0
    return None


def _undo(plan: PlanSummary, driver: str) -> float | None:
    try:
        return 0 if undo_next_batch(plan, driver) else _rest(plan, driver)
    except RunTooSlow as slow:
        _leave_out(plan, driver, slow)
        return 0
    except NotAsBefore:
        _give_up(plan, driver, stop_texts.not_as_before())
    except Refused as refused:
        problem = refused.problem
        _give_up(plan, driver, StopReason(StopKind.UNSUPPORTED, problem.reason, problem.remedy))
    return None


def _pause_after(error: SQLAlchemyError, failed_before: int) -> float | None:
    """Return the seconds after which to try again, ``None`` when it has been tried often enough."""
    is_passing = database_errors.kind_of(error) in PASSING
    if not is_passing and not isinstance(error, OperationalError):
        return None
    if failed_before + 1 < AT_ONCE:
        return BETWEEN_TRIES * (failed_before + 1)
    if not is_passing:
        return None
    number = failed_before + 1 - AT_ONCE
    return PAUSES[number] if number < len(PAUSES) else None


def _put_off(plan_id: UUID, driver: str, seconds: float) -> float | None:
    with new_session() as session:
        return seconds if leases.put_off(plan_id, driver, seconds, session) else None


def _rest(plan: PlanSummary, driver: str) -> float | None:
    """Let the plan rest; if somebody has asked for something meanwhile, come back soon."""
    with new_session() as session:
        has_ended = leases.rest_if_done(UUID(plan.id), driver, session)
    return None if has_ended else _put_off(UUID(plan.id), driver, BETWEEN_TRIES)


def _stop(plan: PlanSummary, driver: str, why: StopReason) -> None:
    def stop() -> None:
        with new_session() as session:
            turns.lock_with_others(plan, session)
            now = utcnow()
            if status.stop(UUID(plan.id), why.to_json(), now, session, driver=driver):
                turns.stop_behind(plan, stop_texts.not_begun().to_json(), now, session)
                outbox.tell(Event.STOPPED, UUID(plan.id), session)

    retrying(stop)


def _give_up_after(plan: PlanSummary, driver: str, error: Exception) -> None:
    plan_id = UUID(plan.id)
    kind = StopKind.BUSY if isinstance(error, OperationalError) else StopKind.ERROR
    is_clear = plan.status == PlanStatus.APPLYING
    why = stop_texts.failure(kind, error, plan_id) if is_clear else stop_texts.undo_failure(error, plan_id)
    _give_up(plan, driver, why)


def _give_up(plan: PlanSummary, driver: str, why: StopReason) -> None:
    """End the clear or undo, if the driver still holds the plan, and store the reason."""
    if plan.status == PlanStatus.APPLYING:
        _stop(plan, driver, why)
        return

    def give_up() -> None:
        with new_session() as session:
            turns.lock_with_others(plan, session)
            if leases.hold(UUID(plan.id), driver, session):
                known = {name: value for name, value in why.to_json().items() if name in LEFT_OUT_TEXTS}
                left_out_runs.give_up(UUID(plan.id), known, session)
                turns.give_turn(plan, session)
                outbox.tell_end_of_undo(UUID(plan.id), session)

    retrying(give_up)


LEFT_OUT_TEXTS = ("reason", "remedy", "code", "error_id")


def _leave_out(plan: PlanSummary, driver: str, slow: RunTooSlow) -> None:
    """Take a run out of the undo, if the driver still holds the plan, and note the reason there."""
    outcome = (
        f"The run {slow.run_id} stays cleared completely and is left out. The undo continues without it."
    )
    failure = failures.explain(slow.error, f"undoing run {slow.run_id} of plan {plan.id}", outcome)

    def note() -> None:
        with new_session() as session:
            turns.lock_with_others(plan, session)
            if leases.hold(UUID(plan.id), driver, session):
                left_out_runs.record(UUID(plan.id), slow.run_id, failure.to_json(), session)
                turns.give_turn(plan, session)
                outbox.tell_end_of_undo(UUID(plan.id), session)

    retrying(note)
