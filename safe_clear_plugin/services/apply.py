"""From a confirmed plan to cleared task instances: batches of whole dag runs, as shown or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import audit, clearing, locking, runs, settings
from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.diff import Mismatch, Moved, mismatches
from safe_clear_plugin.core.pacing import Pace
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.words import count
from safe_clear_plugin.services.retrying import retrying
from safe_clear_plugin.services.taking import get_plan, take
from safe_clear_plugin.storage import applying, drift, images, reading
from safe_clear_plugin.storage.applying import RunToClear

log = logging.getLogger(__name__)
pace = Pace()


class Drifted(Exception):
    """What the plan covers has moved: the first rows of it, and how many there are."""

    def __init__(self, moved: list[Moved], total: int) -> None:
        super().__init__(f"{total} moved")
        self.moved = moved
        self.total = total


class NotAsPlanned(Exception):
    """The clear did something else than the plan said, and was rolled back."""

    def __init__(self, found: list[Mismatch]) -> None:
        super().__init__(f"{len(found)} not as planned")
        self.found = found


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

    :raises Refused: 409 when the plan was not what was shown, was applied, or drifted; 410 when it expired
    """
    if fingerprint != plan.fingerprint:
        raise Refused(
            409, Problem("This is not the plan that was shown.", "Open the plan and look at it again.")
        )
    plan = take(plan, reason, actor, now, resume=resume, acknowledged=acknowledged, approved=approved)
    if plan.status == "applying":
        _guarded(lambda: retrying(_clear_next_batch, plan, actor, reason or plan.reason), UUID(plan.id))
    return get_plan(UUID(plan.id))


def stop_plan(plan: PlanSummary, actor: Actor, now: datetime) -> PlanSummary:
    """Stop a clear after the batch in hand; any other plan is returned as it is."""
    problem = {
        "kind": "stopped",
        "by": actor.name,
        "reason": f"Stopped by {actor.name}.",
        "remedy": "Each dag run was cleared whole or not at all. Resume, undo, or leave it so.",
    }
    retrying(_stop, UUID(plan.id), problem, now)
    return get_plan(UUID(plan.id))


def _guarded(step: Callable[[], None], plan_id: UUID) -> None:
    """Run a step; whatever keeps it from its end stops the plan, with the reason on its page."""
    now = datetime.now(timezone.utc)
    try:
        step()
    except Drifted as drifted:
        _stop(plan_id, _drift_problem(drifted), now)
    except NotAsPlanned as result:
        log.error("Plan %s was rolled back: %s", plan_id.hex, "; ".join(map(str, result.found)))
        _stop(plan_id, _mismatch_problem(result), now)
    except OperationalError as error:
        log.warning("Plan %s stopped: %s", plan_id.hex, error)
        _stop(plan_id, _busy_problem(error), now)
    except Exception as error:
        _stop(plan_id, _error_problem(error), now)
        raise


def _clear_next_batch(plan: PlanSummary, actor: Actor, reason: str) -> None:
    """Clear the next runs in one transaction, if the plan is still being applied."""
    plan_id, now = UUID(plan.id), datetime.now(timezone.utc)
    with new_session() as session:
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        number = applying.begin_batch(plan_id, now, session)
        if number is None:
            return
        batch, last = applying.next_runs(plan_id, pace.size(settings.batch_size()), session)
        locked = _lock(plan, batch, session) if batch else set()
        begun = time.monotonic()
        if batch:
            _clear_batch(plan, batch, locked, actor, reason, number=number, session=session)
        applying.finish_batch(plan_id, number, batch, datetime.now(timezone.utc), last=last, session=session)
    pace.learn(sum(run.task_instances for run in batch), time.monotonic() - begun)


def _lock(plan: PlanSummary, batch: list[RunToClear], session: Session) -> set[UUID]:
    """Lock the runs of one transaction; return the ids of the task instances that are locked with them."""
    plan_id, run_ids = UUID(plan.id), [run.run_id for run in batch]
    locking.lock_dag_runs(sorted(run.dag_run_id for run in batch), session)
    if applying.has_scheduled(plan_id, run_ids, session):
        locking.lock_out_scheduler(session)
    return locking.lock_task_instances(
        plan.dag_id,
        run_ids,
        session,
        touched=reading.touched_ids(plan_id, run_ids),
        # Bringing a run up to the latest DAG version looks at, and may write, each of its task instances.
        whole=[run.run_id for run in batch if run.moves_to_latest],
    )


def _clear_batch(
    plan: PlanSummary,
    batch: list[RunToClear],
    locked: set[UUID],
    actor: Actor,
    reason: str,
    *,
    number: int,
    session: Session,
) -> None:
    """Compare, keep, clear, read back, verify and record the runs of one transaction, under its locks."""
    plan_id, run_ids = UUID(plan.id), [run.run_id for run in batch]
    moved, total = drift.find(plan, session, run_ids)
    if moved:
        raise Drifted(moved, total)
    before = clearing.read_task_instances(plan.dag_id, run_ids, session)
    free = {key for key, row in before.items() if row["id"] not in locked}
    images.capture(plan_id, plan.dag_id, run_ids, session)
    clearing.clear(
        plan.dag_id,
        [run.dag_run_id for run in batch],
        reading.cleared_ids(plan_id, run_ids),
        reset_dag_runs=plan.selection.reset_dag_runs,
        on_latest=plan.run_on_latest_version,
        session=session,
    )
    planned, cleared_from = applying.planned_rows(plan_id, run_ids, session)
    if found := _verify(plan, batch, session, planned=planned, before=before, free=free):
        raise NotAsPlanned(found)
    images.note_new_ids(plan_id, plan.dag_id, run_ids, session)
    audit.record(
        audit.CLEAR_EVENT,
        applying.audit_select(plan_id, run_ids),
        cleared_from,
        dag_id=plan.dag_id,
        plan_id=plan.id,
        reason=reason,
        actor=actor,
        details=_consent(plan),
        session=session,
    )
    applying.record_batch(
        plan_id,
        number,
        "clear",
        actor=actor,
        reason=reason,
        at=datetime.now(timezone.utc),
        dates=[run.date for run in batch],
        task_instances=sum(run.task_instances for run in batch),
        session=session,
    )


def _consent(plan: PlanSummary) -> dict[str, Any]:
    """Return who agreed to what when the plan was confirmed, for the audit log."""
    consent: dict[str, Any] = {"acknowledged": list(plan.acknowledged)} if plan.acknowledged else {}
    if plan.approved_by:
        consent |= {"asked_by": plan.created_by_name, "approved_by": plan.approved_by_name}
    return consent


def _verify(
    plan: PlanSummary,
    batch: list[RunToClear],
    session: Session,
    *,
    planned: dict[Any, dict[str, Any]],
    before: dict[Any, dict[str, Any]],
    free: set[Any],
) -> list[Mismatch]:
    """Compare what the runs are now with what is ``planned``, but for what is ``free`` to go on."""
    run_ids = [run.run_id for run in batch]
    found = clearing.read_task_instances(plan.dag_id, run_ids, session)
    if plan.selection.reset_dag_runs:
        versions = {run.run_id: run.after["dag_version_id"] for run in batch}
        before = runs.pinned(before, versions)
    for key in free:
        before.pop(key)
        found.pop(key, None)
    wrong = list(mismatches(planned, found, before))
    live = clearing.read_runs([run.dag_run_id for run in batch], session)
    for run in batch:
        clears = run.clear_number + (1 if plan.selection.reset_dag_runs else 0)
        for column, value in {**run.after, "clear_number": clears}.items():
            if live[run.run_id][column] != value:
                wrong.append(
                    Mismatch(f"dag run {run.run_id}", column, str(value), str(live[run.run_id][column]))
                )
    return wrong


def _stop(plan_id: UUID, problem: dict[str, Any], now: datetime) -> None:
    with new_session() as session:
        applying.transition(plan_id, "applying", "stopped", session, problem=problem, finished_at=now)


def _drift_problem(drifted: Drifted) -> dict[str, Any]:
    return {
        "kind": "drift",
        "reason": f"{count(drifted.total, 'thing')} moved while the plan was being applied.",
        "remedy": "What was cleared before stands. Go on without the runs that moved, or undo.",
        "moved": [row.to_json() for row in drifted.moved],
        "total": drifted.total,
    }


def _busy_problem(error: OperationalError) -> dict[str, Any]:
    said = str(error.orig).strip().splitlines()
    return {
        "kind": "busy",
        "reason": f"The metadata DB did not take the batch: {said[0] if said else 'it gave no reason'}.",
        "remedy": "The batch in hand was rolled back, what was cleared before stands. Resume.",
    }


def _error_problem(error: Exception) -> dict[str, Any]:
    return {
        "kind": "error",
        "reason": f"An error stopped the clear: {type(error).__name__}.",
        "remedy": "The transaction in hand was rolled back, what was cleared before stands. "
        "The log of the api-server says more; resume, or preview the same selection again for the rest.",
    }


def _mismatch_problem(result: NotAsPlanned) -> dict[str, Any]:
    return {
        "kind": "mismatch",
        "reason": "Airflow's clear did something else than the plan said, so it was rolled back.",
        "remedy": "Preview the same selection again. If it stops there again, report the rows below.",
        "mismatches": [str(mismatch) for mismatch in result.found[:50]],
        "total": len(result.found),
    }
