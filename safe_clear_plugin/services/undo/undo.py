"""Taking a clear back: what has not started yet returns to exactly what it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log, locks
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.clear import batch_sizers, stop_texts
from safe_clear_plugin.services.clear.retry import retrying
from safe_clear_plugin.services.clear.scheduler_turns import NotYet, Turn, retrying_in_turn, turn
from safe_clear_plugin.services.clear.slow_batches import RunTooSlow, halving
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.undo.undo_preview import problem_with
from safe_clear_plugin.storage.clear import batches, status
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.undo import left_out_runs, restore, undo_batches

log = logging.getLogger(__name__)


def undo_plan(
    plan: PlanSummary,
    run_ids: Sequence[str],
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool = False,
    seen_runs: int | None = None,
) -> PlanSummary:
    """Put back the next batch of the named runs, and return the plan as it then is.

    With none named, of all that are cleared and not undone yet; with ``resume``, of those that were asked for
    before, and no others. ``seen_runs`` is how many runs were cleared when its preview was made: a clear that
    has gone on since has to be looked at again.

    While the plan comes back as ``is_undoing``, there is more to put back, also while it is the schedulers'
    turn and nothing is put back. A run that the database does not put back in time is left out, stays
    cleared, and is refused; the others go on with ``resume``. A task instance that starts before its batch is
    locked stays, and the receipt lists it. No run is undone twice.

    :raises Refused: 409 when there is nothing to undo, or more than was seen, or when this Airflow is not
        supported, with the reason; 503 when the database is too busy
    """
    compatibility.require_supported()
    if problem := problem_with(plan, now):
        raise Refused(409, problem)
    try:
        found = _undo_some(plan, run_ids, reason, actor, now, resume=resume, seen_runs=seen_runs)
    except NotYet:
        found = resume or retrying(_ask, plan, run_ids, seen_runs, now)
    except RunTooSlow as slow:
        if not resume:
            retrying(_ask, plan, run_ids, seen_runs, now)
        raise _leave_out(plan, slow) from slow.error
    except OperationalError as error:
        outcome = "This part of the undo was rolled back. Earlier parts stay restored."
        raise failures.refused(error, f"undoing plan {plan.id}", outcome) from error
    if not found:
        raise Refused(
            409, Problem("There is nothing to undo.", "The plan's page shows what was cleared and undone.")
        )
    return get_plan(plan.id)


def _undo_some(
    plan: PlanSummary,
    run_ids: Sequence[str],
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool,
    seen_runs: int | None,
) -> bool:
    """Undo the next runs, once the clear has stopped. Says whether there was anything to undo."""
    failed: list[OperationalError] = []

    def next_batch() -> bool:
        try:
            return _undo_next_batch(plan, None if resume else list(run_ids), reason, actor, seen_runs)
        except OperationalError as error:
            failed.append(error)
            raise

    if plan.status == PlanStatus.APPLYING:
        retrying(_settle, UUID(plan.id), now)
    if not plan.is_undoing:
        retrying(_refresh_statistics, plan)
    # Nothing to do after a failure: the first try had committed, and only its answer was lost.
    return retrying_in_turn(next_batch) or bool(failed) or resume


def _refresh_statistics(plan: PlanSummary) -> None:
    with new_session() as session:
        statistics.refresh(plan, session)


def _settle(plan_id: UUID, now: datetime) -> None:
    """Stop a clear that was left half-way, so that it cannot go on beside its undo."""
    with new_session() as session:
        problem = stop_texts.interrupted().to_json()
        status.stop_if_abandoned(plan_id, problem, now, session)


def _undo_next_batch(
    plan: PlanSummary, run_ids: list[str] | None, reason: str, actor: Actor, seen_runs: int | None
) -> bool:
    """Undo the next runs in one transaction. Says whether there was anything to undo.

    ``run_ids`` are asked for: none of them means all, and ``None`` only what was asked for before.
    """
    plan_id, now = UUID(plan.id), datetime.now(timezone.utc)
    with turn() as own_turn, new_session() as session:
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        number = undo_batches.begin_batch(plan_id, now, session)
        if number is None:
            return False
        if found := compatibility.check(session.connection()):
            raise found.refusal()
        if run_ids is not None:
            _note_asked(plan, run_ids, seen_runs, now, session)
        own_turn.take(session)
        begun = time.monotonic()
        size = batch_sizers.UNDO.next_size(config.batch_size())
        batch = undo_batches.next_runs(plan_id, run_ids or [], size, session)
        if not batch:
            session.rollback()
            return False
        task_instances = sum(run.task_instances for run in batch)
        with halving(batch_sizers.UNDO, [run.run_id for run in batch], task_instances, own_turn):
            _undo_batch(plan, batch, reason, actor, number=number, own_turn=own_turn, session=session)
            if left_out_runs.run_ids_of(plan):
                left_out_runs.remove(plan_id, [run.run_id for run in batch], session)
            own_turn.leave(session)
    batch_sizers.UNDO.observe(task_instances, time.monotonic() - begun)
    return True


def _ask(plan: PlanSummary, run_ids: Sequence[str], seen_runs: int | None, now: datetime) -> bool:
    """Record what is to be undone without undoing any of it yet. Says whether there is anything."""
    plan_id = UUID(plan.id)
    with new_session() as session:
        if not undo_batches.lock_plan(plan_id, session):
            return False
        _note_asked(plan, run_ids, seen_runs, now, session)
        return bool(undo_batches.next_runs(plan_id, run_ids, 1, session))


def _note_asked(
    plan: PlanSummary, run_ids: Sequence[str], seen_runs: int | None, now: datetime, session: Session
) -> None:
    plan_id = UUID(plan.id)
    _require_seen(plan_id, seen_runs, session)
    undo_batches.request_undo(plan_id, run_ids, now, session)
    if plan.is_undoing and not run_ids:
        # Who asks for all while an undo is under way does not mean what it has left out.
        left_out_runs.withdraw_requests(plan_id, left_out_runs.run_ids_of(plan), session)


def _leave_out(plan: PlanSummary, slow: RunTooSlow) -> Refused:
    """Take a run out of the undo, note the reason on the plan, and return the refusal that says so."""
    outcome = (
        f"The run {slow.run_id} stays cleared completely and is left out. The undo can continue without it."
    )
    failure = failures.explain(slow.error, f"undoing run {slow.run_id} of plan {plan.id}", outcome)

    def note() -> None:
        with new_session() as session:
            left_out_runs.record(UUID(plan.id), slow.run_id, failure.to_json(), session)

    retrying(note)
    return Refused(503, Problem(failure.reason, failure.remedy), failure.details)


def _require_seen(plan_id: UUID, seen_runs: int | None, session: Session) -> None:
    """Refuse to undo runs that were cleared after the preview of their undo."""
    cleared = undo_batches.cleared_runs(plan_id, session)
    if seen_runs is None or seen_runs == cleared:
        return
    raise Refused(
        409,
        Problem(
            f"The clear has continued since this undo was previewed: {count(cleared, 'run')} "
            f"{'is' if cleared == 1 else 'are'} cleared now, and {seen_runs:,} were then.",
            "Nothing was restored. Preview the undo again, then confirm it.",
        ),
        {"cleared_runs": cleared},
    )


def _undo_batch(
    plan: PlanSummary,
    batch: list[Any],
    reason: str,
    actor: Actor,
    *,
    number: int,
    own_turn: Turn,
    session: Session,
) -> None:
    """Lock, decide, put back, read back, verify and record the runs of one transaction."""
    plan_id, run_ids = UUID(plan.id), [run.run_id for run in batch]
    locks.lock_dag_runs(sorted(run.dag_run_id for run in batch), session)
    own_turn.lock_out_scheduler(session)
    locks.lock_task_instances(plan.dag_id, run_ids, session)
    at = datetime.now(timezone.utc)
    undo_batches.record_verdicts(plan_id, plan.dag_id, run_ids, number=number, at=at, session=session)
    restore.restore_task_instances(plan_id, plan.dag_id, run_ids, session)
    restore.restore_runs(plan_id, plan.dag_id, run_ids, session)
    _require_as_before(plan, run_ids, session)
    put_back, stayed = undo_batches.finish_batch(plan_id, run_ids, at, session)
    audit_log.record(
        audit_log.Entry(audit_log.UNDO_EVENT, plan, reason, actor),
        undo_batches.audit_select(plan_id, run_ids),
        undo_batches.states_put_back(plan_id, run_ids, session),
        session,
    )
    batches.record_batch(
        plan_id,
        number,
        "undo",
        actor=actor,
        reason=reason,
        at=at,
        dates=[run.date for run in batch],
        task_instances=put_back,
        stayed=stayed,
        session=session,
    )


def _require_as_before(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> None:
    if wrong := restore.differences(UUID(plan.id), plan.dag_id, run_ids, session):
        log.error("Undo of plan %s rolled back; not as before: %s", plan.id, wrong)
        raise Refused(
            409,
            Problem(
                "Some rows were not restored exactly, so this part of the undo was rolled back.",
                "Please report this. The api-server's log names the rows.",
            ),
        )
