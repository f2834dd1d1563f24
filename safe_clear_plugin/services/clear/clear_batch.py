"""One transaction of a clear: whole dag runs, as shown or not at all."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log, clear_runs, related_rows
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.joins import join_runs
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.effects import COVERED_EFFECTS, Effect
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services.clear import batch_sizers, stop_texts
from safe_clear_plugin.services.clear.batch_errors import (
    AirflowChanged,
    DriftError,
    MismatchError,
    VersionCame,
)
from safe_clear_plugin.services.clear.claim import upgrade_problem
from safe_clear_plugin.services.clear.locked_batch import LockedBatch, lock_batch
from safe_clear_plugin.services.clear.release import released_runs
from safe_clear_plugin.services.clear.scheduler_turns import turn
from safe_clear_plugin.services.clear.slow_batches import halving
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import (
    batches,
    before_images,
    drift,
    status,
    verification,
    version_drift,
)
from safe_clear_plugin.storage.clear.batches import Batch
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.webhook import outbox


def clear_next_batch(plan: PlanSummary, driver: str) -> None:
    """Clear the next runs in one transaction, if the plan is being applied and the driver holds it.

    The clear is in the name of the person who asked for it. After any exception, the transaction is rolled
    back.

    :raises NotYet: when the runs' turn, or the schedulers', comes first
    :raises DriftError: when the database is no longer as previewed
    :raises MismatchError: when Airflow's clear did something else than the plan says
    :raises AirflowChanged: when Airflow was upgraded meanwhile
    :raises RunTooSlow: when the database does not take a single run in time
    """
    try:
        _clear_next_batch(plan, driver)
    except VersionCame:
        # Airflow's clear has used a DAG version that came after the comparison: this time that is compared.
        _clear_next_batch(plan, driver)


def _clear_next_batch(plan: PlanSummary, driver: str) -> None:
    plan_id, now = UUID(plan.id), utcnow()
    with turn() as own_turn, new_session() as session:
        turns.lock_with_others(plan, session)
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        number = status.begin_batch(plan_id, now, driver, session)
        if number is None:
            return
        _require_same_airflow(plan, session)
        size = batch_sizers.CLEAR.next_size(config.batch_size())
        released = released_runs(plan, session)
        batch = batches.next_batch(
            plan_id, number, size, session, most_runs=released.most, order=released.order
        )
        with halving(batch_sizers.CLEAR, batch.run_ids, batch.task_instances, own_turn):
            held = lock_batch(plan, batch, own_turn, session) if batch.runs else None
            # The wait for locks says nothing of how fast the database is.
            begun = time.monotonic()
            if held:
                _clear_batch(plan, batch, held, driver, session=session)
            batches.finish_batch(plan_id, batch, utcnow(), session)
            if batch.last:
                turns.give_turn(plan, session)
                outbox.tell(Event.DONE, plan_id, session, by=plan.requester.name)
            own_turn.leave(session)
    batch_sizers.CLEAR.observe(batch.task_instances, time.monotonic() - begun)


def _require_same_airflow(plan: PlanSummary, session: Session) -> None:
    """Compare Airflow with the one that the clear began under, as a rolling upgrade may come in between."""
    if problem := upgrade_problem(plan):
        raise AirflowChanged(problem, StopKind.UPGRADED)
    if found := compatibility.check(session.connection()):
        raise AirflowChanged(found.problem, StopKind.UNSUPPORTED)


def _clear_batch(
    plan: PlanSummary, batch: Batch, held: LockedBatch, driver: str, *, session: Session
) -> None:
    """Compare, keep, clear, verify and record the runs of one transaction, under its locks."""
    plan_id, run_ids = UUID(plan.id), batch.run_ids
    drifted, total = drift.find_drift(plan, session, run_ids)
    if drifted:
        raise DriftError(drifted, total, stop_texts.cause_of_drift(drifted, plan.dag_id, session))
    cleared = plan_reader.cleared_ids(plan_id, run_ids)
    related = related_rows.count_related_rows(
        plan.dag_id, run_ids, batch.run_pks, cleared.subquery(), session
    )
    has_others = related.task_instances > batch.of(*COVERED_EFFECTS) - batch.of(Effect.CREATE)
    others = verification.read_uncleared(plan_id, plan.dag_id, run_ids, session) if has_others else {}
    before_images.capture(plan_id, plan.dag_id, run_ids, related, session)
    clear_runs.clear(
        plan.dag_id,
        held.dag_runs,
        cleared,
        related=related,
        reset_dag_runs=plan.selection.reset_dag_runs,
        on_latest=plan.run_on_latest_version,
        session=session,
    )
    join_runs(session)
    at = utcnow()
    if found := verification.verify(plan, batch, others, held.task_instance_ids, at=at, session=session):
        came = version_drift.has_changed(plan, run_ids, session)
        raise VersionCame(found) if came else MismatchError(found)
    _record(plan, batch, driver, at, session)


def _record(plan: PlanSummary, batch: Batch, driver: str, at: datetime, session: Session) -> None:
    """Write the cleared runs into the audit log and the plan's list of batches."""
    plan_id, details = UUID(plan.id), {"driver": driver, **_consent(plan)}
    audit_log.record(
        audit_log.Entry(audit_log.CLEAR_EVENT, plan, plan.request_reason, plan.requester, details),
        batches.audit_select(plan_id, batch.run_ids),
        batch.cleared_from,
        session,
    )
    batches.record_batch(
        plan_id,
        batch.number,
        "clear",
        actor=plan.requester,
        reason=plan.request_reason,
        at=at,
        dates=[run.date for run in batch.runs],
        task_instances=batch.task_instances,
        session=session,
    )


def _consent(plan: PlanSummary) -> dict[str, Any]:
    """Return who agreed to what when the plan was confirmed, for the audit log."""
    consent: dict[str, Any] = {"acknowledged": list(plan.acknowledged)} if plan.acknowledged else {}
    if plan.approved_by:
        consent |= {"asked_by": plan.created_by_name, "approved_by": plan.approved_by_name}
    return consent
