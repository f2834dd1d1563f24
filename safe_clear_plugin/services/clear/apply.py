"""From a confirmed plan to cleared task instances: batches of whole dag runs, as shown or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log, clear_runs, related_rows
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.effects import COVERED_EFFECTS, Effect
from safe_clear_plugin.core.mismatch import Mismatch
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.stop_reason import StopKind, StopReason
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.clear import batch_sizers, stop_texts
from safe_clear_plugin.services.clear.claim import claim_or_resume, upgrade_problem
from safe_clear_plugin.services.clear.locked_batch import LockedBatch, lock_batch
from safe_clear_plugin.services.clear.retry import retrying
from safe_clear_plugin.services.clear.scheduler_turns import NotYet, retrying_in_turn, turn
from safe_clear_plugin.services.clear.slow_batches import RunTooSlow, halving
from safe_clear_plugin.storage.clear import batches, before_images, drift, status, verification
from safe_clear_plugin.storage.clear.batches import Batch
from safe_clear_plugin.storage.plans import plan_reader

log = logging.getLogger(__name__)
T = TypeVar("T")


class DriftError(Exception):
    """The database differs from the preview: the first rows that do, and how many there are."""

    def __init__(self, rows: list[DriftedRow], total: int) -> None:
        super().__init__(f"{total} drifted")
        self.rows = rows
        self.total = total


class MismatchError(Exception):
    """The clear did something else than the plan said, and was rolled back."""

    def __init__(self, found: list[Mismatch]) -> None:
        super().__init__(f"{len(found)} not as planned")
        self.found = found


class AirflowChanged(Exception):
    """Airflow, or its database, is no longer the one that the clear began under."""

    def __init__(self, problem: Problem, kind: StopKind) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.kind = kind


def apply_plan(
    plan: PlanSummary,
    fingerprint: str,
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool = False,
    acknowledged: Sequence[str] = (),
    approved: bool = False,
) -> PlanSummary:
    """Clear the next batch of the plan, and return the plan as it then is.

    The first call takes the plan for this actor and compares all of it with the database; each batch is
    compared again under its locks. While the plan comes back as ``applying``, there is more to clear. A drift
    or a mismatch rolls its batch back and stops there. Sent again, whatever was lost on the way, a call
    clears nothing twice. To go on with a plan that was stopped, or that somebody else applies, takes
    ``resume``. Whether the actor may confirm it, what they ``acknowledged`` and whether they ``approved`` in
    place of its author, has been decided before; the first call puts it on record.

    :raises Refused: 409 when the plan was not what was shown, was applied, or drifted, and on an Airflow that
        is not supported; 410 when it expired
    """
    compatibility.require_supported()
    if fingerprint != plan.fingerprint:
        raise Refused(
            409, Problem("This is not the plan that you previewed.", "Open the plan and review it again.")
        )
    plan = claim_or_resume(
        plan, reason, actor, now, resume=resume, acknowledged=acknowledged, approved=approved
    )
    after = None
    if plan.status == "applying":
        why = reason or plan.reason
        after = _guarded(lambda: retrying_in_turn(lambda: _clear_next_batch(plan, actor, why)), UUID(plan.id))
    return after or plans.get_plan(plan.id)


def stop_plan(plan: PlanSummary, actor: Actor, now: datetime) -> PlanSummary:
    """Stop a clear after the batch in hand; any other plan is returned as it is."""
    retrying(_stop_for, plan, stop_texts.by_person(actor), actor, now)
    return plans.get_plan(plan.id)


def _guarded(step: Callable[[], T], plan_id: UUID) -> T | None:
    """Run a step; whatever keeps it from its end stops the plan, with the reason on its page."""
    now = datetime.now(timezone.utc)
    try:
        return step()
    except NotYet:
        # The plan goes on being applied; the next request clears the batch.
        return None
    except DriftError as drifted:
        _stop(plan_id, stop_texts.drift(drifted.rows, drifted.total), now)
    except MismatchError as mismatched:
        log.error("Plan %s was rolled back: %s", plan_id.hex, "; ".join(map(str, mismatched.found)))
        _stop(plan_id, stop_texts.mismatch(mismatched.found), now)
    except AirflowChanged as changed:
        log.error("Plan %s stopped: %s", plan_id.hex, changed)
        _stop(plan_id, stop_texts.airflow_changed(changed.kind, changed.problem), now)
    except RunTooSlow as slow:
        _stop(plan_id, stop_texts.failure(StopKind.BUSY, slow.error, plan_id), now)
    except OperationalError as error:
        _stop(plan_id, stop_texts.failure(StopKind.BUSY, error, plan_id), now)
    except Exception as error:
        _stop(plan_id, stop_texts.failure(StopKind.ERROR, error, plan_id), now)
        raise
    return None


def _clear_next_batch(plan: PlanSummary, actor: Actor, reason: str) -> PlanSummary | None:
    """Clear the next runs in one transaction, if the plan is still being applied, and return it then."""
    plan_id, now = UUID(plan.id), datetime.now(timezone.utc)
    with turn() as own_turn, new_session() as session:
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        number = status.begin_batch(plan_id, now, session)
        if number is None:
            return None
        _require_same_airflow(plan, session)
        batch = batches.next_batch(
            plan_id, number, batch_sizers.CLEAR.next_size(config.batch_size()), session
        )
        with halving(batch_sizers.CLEAR, batch.run_ids, batch.task_instances, own_turn):
            held = lock_batch(plan, batch, own_turn, session) if batch.runs else None
            # The wait for locks says nothing of how fast the database is.
            begun = time.monotonic()
            if held:
                _clear_batch(plan, batch, held, actor, reason, session=session)
            after = batches.finish_batch(plan_id, batch, datetime.now(timezone.utc), session)
            own_turn.leave(session)
    batch_sizers.CLEAR.observe(batch.task_instances, time.monotonic() - begun)
    return after


def _require_same_airflow(plan: PlanSummary, session: Session) -> None:
    """Compare Airflow with the one that the clear began under, as a rolling upgrade may come in between."""
    if problem := upgrade_problem(plan):
        raise AirflowChanged(problem, StopKind.UPGRADED)
    if found := compatibility.check(session.connection()):
        raise AirflowChanged(found.problem, StopKind.UNSUPPORTED)


def _clear_batch(
    plan: PlanSummary, batch: Batch, held: LockedBatch, actor: Actor, reason: str, *, session: Session
) -> None:
    """Compare, keep, clear, verify and record the runs of one transaction, under its locks."""
    plan_id, run_ids = UUID(plan.id), batch.run_ids
    drifted, total = drift.find_drift(plan, session, run_ids)
    if drifted:
        raise DriftError(drifted, total)
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
    at = datetime.now(timezone.utc)
    if found := verification.verify(plan, batch, others, held.task_instance_ids, at=at, session=session):
        raise MismatchError(found)
    audit_log.record(
        audit_log.Entry(audit_log.CLEAR_EVENT, plan, reason, actor, _consent(plan)),
        batches.audit_select(plan_id, run_ids),
        batch.cleared_from,
        session,
    )
    batches.record_batch(
        plan_id,
        batch.number,
        "clear",
        actor=actor,
        reason=reason,
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


def _stop_for(plan: PlanSummary, why: StopReason, actor: Actor, now: datetime) -> None:
    with new_session() as session:
        stopped = status.transition(
            UUID(plan.id), "applying", "stopped", session, problem=why.to_json(), finished_at=now
        )
        if stopped:
            details = {"applied_by": plan.applied_by_name}
            audit_log.record_decision(
                audit_log.Entry(audit_log.STOP_EVENT, plan, "", actor, details), session
            )


def _stop(plan_id: UUID, why: StopReason, now: datetime) -> None:
    with new_session() as session:
        status.transition(plan_id, "applying", "stopped", session, problem=why.to_json(), finished_at=now)
