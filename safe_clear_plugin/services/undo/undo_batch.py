"""One transaction of an undo: restores the rows of some runs, as far as they have not started."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log, locks
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services.clear import batch_sizers
from safe_clear_plugin.services.clear.scheduler_turns import Turn, turn
from safe_clear_plugin.services.clear.slow_batches import halving
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import batches
from safe_clear_plugin.storage.undo import left_out_runs, restore, undo_batches
from safe_clear_plugin.storage.webhook import outbox

log = logging.getLogger(__name__)


class NotAsBefore(Exception):
    """Some rows were not put back exactly; the transaction was rolled back, and the log names them."""


def undo_next_batch(plan: PlanSummary, driver: str) -> bool:
    """Undo the next of the runs that were asked for in one transaction, if the driver holds the plan.

    The undo is in the name of the person who asked for it. A task instance that starts before its batch is
    locked stays, and the receipt lists it. No run is undone twice. Return whether there was a run to undo.
    After any exception, the transaction is rolled back.

    :raises NotYet: when it is the schedulers' turn
    :raises NotAsBefore: when a row came back otherwise
    :raises Refused: 409 when Airflow's tables are no longer those that Safe Clear knows
    :raises RunTooSlow: when the database does not put a single run back in time
    """
    plan_id, now = UUID(plan.id), utcnow()
    with turn() as own_turn, new_session() as session:
        turns.lock_with_others(plan, session)
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        number = undo_batches.begin_batch(plan_id, now, driver, session)
        if number is None:
            return False
        if found := compatibility.check(session.connection()):
            raise found.refusal()
        own_turn.take(session)
        begun = time.monotonic()
        size = batch_sizers.UNDO.next_size(config.batch_size())
        batch = undo_batches.next_runs(plan_id, size, session)
        if not batch:
            session.rollback()
            return False
        task_instances = sum(run.task_instances for run in batch)
        with halving(batch_sizers.UNDO, [run.run_id for run in batch], task_instances, own_turn):
            _undo_batch(plan, batch, driver, number=number, own_turn=own_turn, session=session)
            if left_out_runs.run_ids_of(plan):
                left_out_runs.remove(plan_id, [run.run_id for run in batch], session)
            turns.give_turn(plan, session)
            outbox.tell_end_of_undo(plan_id, session)
            own_turn.leave(session)
    batch_sizers.UNDO.observe(task_instances, time.monotonic() - begun)
    return True


def _undo_batch(
    plan: PlanSummary,
    batch: list[Any],
    driver: str,
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
    at = utcnow()
    undo_batches.record_verdicts(plan_id, plan.dag_id, run_ids, number=number, at=at, session=session)
    restore.restore_task_instances(plan_id, plan.dag_id, run_ids, session)
    restore.restore_runs(plan_id, plan.dag_id, run_ids, session)
    _require_as_before(plan, run_ids, session)
    put_back, stayed = undo_batches.finish_batch(plan_id, run_ids, at, session)
    audit_log.record(
        audit_log.Entry(audit_log.UNDO_EVENT, plan, plan.request_reason, plan.requester, {"driver": driver}),
        undo_batches.audit_select(plan_id, run_ids),
        undo_batches.states_put_back(plan_id, run_ids, session),
        session,
    )
    batches.record_batch(
        plan_id,
        number,
        "undo",
        actor=plan.requester,
        reason=plan.request_reason,
        at=at,
        dates=[run.date for run in batch],
        task_instances=put_back,
        stayed=stayed,
        session=session,
    )


def _require_as_before(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> None:
    if wrong := restore.differences(UUID(plan.id), plan.dag_id, run_ids, session):
        log.error("Undo of plan %s rolled back; not as before: %s", plan.id, wrong)
        raise NotAsBefore
