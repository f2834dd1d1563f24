"""From a confirmed plan to cleared task instances: all as shown, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from safe_clear_plugin.airflow_api import audit, clearing, dags, runs, settings
from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.diff import Mismatch, Moved, mismatches
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.words import count
from safe_clear_plugin.storage import applying, drift, reading
from safe_clear_plugin.storage.applying import RunToClear

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a transaction is tried that lost a deadlock or found the database locked."""


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


def apply_plan(plan: PlanSummary, fingerprint: str, reason: str, actor: Actor, now: datetime) -> PlanSummary:
    """Clear what the plan says, in transactions of whole dag runs, and return the plan as it then is.

    The whole plan is compared with the database before the first transaction, and each part again under its
    locks. A drift or a mismatch rolls its transaction back and stops there.

    :raises Refused: 409 when the plan was not what was shown, was applied, or drifted; 410 when it expired
    """
    plan_id = UUID(plan.id)
    if fingerprint != plan.fingerprint:
        raise Refused(
            409, Problem("This is not the plan that was shown.", "Open the plan and look at it again.")
        )
    _claim(plan, reason, actor, now)
    try:
        batches = list(_batches(_runs(plan_id), settings.batch_size()))
        for number, batch in enumerate(batches, 1):
            _retrying(_clear_batch, plan, batch, actor, reason, number == len(batches))
    except Drifted as drifted:
        _stop(plan_id, _drift_problem(drifted))
    except NotAsPlanned as result:
        log.error("Plan %s was rolled back: %s", plan.id, "; ".join(map(str, result.found)))
        _stop(plan_id, _mismatch_problem(result))
    except Exception as error:
        _stop(plan_id, _error_problem(error))
        raise
    return _get(plan_id)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _get(plan_id: UUID) -> PlanSummary:
    with new_session() as session:
        plan = reading.get(plan_id, session)
    assert plan is not None
    return plan


def _retrying(step: Any, *args: Any) -> None:
    retrying = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0.05, 0.5),
        reraise=True,
    )
    retrying(step, *args)


def _claim(plan: PlanSummary, reason: str, actor: Actor, now: datetime) -> None:
    """Take the plan for this caller alone, if it still holds; what moved makes it stale instead."""
    plan_id = UUID(plan.id)
    with new_session() as session:
        taken = applying.transition(
            plan_id,
            "ready",
            "applying",
            session,
            unexpired_at=now,
            reason=reason,
            applied_by=actor.id,
            applied_by_name=actor.name,
            applied_at=now,
        )
        if not taken:
            raise _not_ready(plan_id, session)
        moved, total = _find_drift(plan, session)
        if moved:
            problem = {"kind": "drift", "moved": [row.to_json() for row in moved], "total": total}
            applying.transition(plan_id, "applying", "stale", session, problem=problem, finished_at=now)
    if moved:
        raise Refused(
            409,
            Problem(
                f"Nothing was cleared: {count(total, 'thing')} moved since the preview.",
                "Preview the same selection again.",
            ),
            {"drift": problem["moved"], "drift_total": total},
        )


def _not_ready(plan_id: UUID, session: Session) -> Refused:
    plan = reading.get(plan_id, session)
    if plan is None:
        return Refused(404, Problem("There is no such plan.", "It may have expired and been removed."))
    if plan.status == "ready":
        return Refused(
            410, Problem("The plan has expired; nothing was cleared.", "Preview the selection again.")
        )
    if plan.status == "stale":
        return Refused(
            409,
            Problem("What the plan covers has moved; nothing was cleared.", "Preview the selection again."),
            {
                "drift": (plan.problem or {}).get("moved", []),
                "drift_total": (plan.problem or {}).get("total", 0),
            },
        )
    who = plan.applied_by_name or plan.applied_by
    return Refused(
        409, Problem(f"The plan has already been applied, by {who}.", "Its page shows what was cleared.")
    )


def _find_drift(
    plan: PlanSummary, session: Session, run_ids: list[str] | None = None
) -> tuple[list[Moved], int]:
    return drift.find(
        UUID(plan.id),
        plan.dag_id,
        on_latest=plan.run_on_latest_version,
        latest=dags.latest_version_id(plan.dag_id, session),
        session=session,
        run_ids=run_ids,
    )


def _runs(plan_id: UUID) -> list[RunToClear]:
    with new_session() as session:
        return list(applying.runs_to_clear(plan_id, session))


def _batches(all_runs: Iterable[RunToClear], size: int) -> Iterator[list[RunToClear]]:
    """Group runs up to ``size`` task instances; a larger run is a batch of its own, never split."""
    batch: list[RunToClear] = []
    for run in all_runs:
        if batch and sum(member.task_instances for member in batch) + run.task_instances > size:
            yield batch
            batch = []
        batch.append(run)
    if batch:
        yield batch


def _clear_batch(plan: PlanSummary, batch: list[RunToClear], actor: Actor, reason: str, last: bool) -> None:
    """Lock, compare, clear, read back, verify and record the runs of one transaction.

    The last one also makes the plan an applied one, so that no crash comes between. A batch that is tried
    again because the answer to its commit was lost finds its runs marked, and is done.
    """
    plan_id, run_ids = UUID(plan.id), [run.run_id for run in batch]
    run_pks = sorted(run.dag_run_id for run in batch)
    with new_session() as session:
        # A write of our own comes first: on SQLite it takes the write lock before anything is read.
        if not applying.mark_runs_applied(plan_id, run_ids, _now(), session):
            return
        finished = {"finished_at": _now()} if last else {}
        status = "applied" if last else "applying"
        if not applying.transition(plan_id, "applying", status, session, **finished):
            raise _not_ready(plan_id, session)
        clearing.lock_runs(plan.dag_id, run_pks, run_ids, session)
        moved, total = _find_drift(plan, session, run_ids)
        if moved:
            raise Drifted(moved, total)
        before = clearing.read_task_instances(plan.dag_id, run_ids, session)
        clearing.clear(
            reading.cleared_ids(plan_id, run_ids),
            reset_dag_runs=plan.selection.reset_dag_runs,
            on_latest=plan.run_on_latest_version,
            session=session,
        )
        if found := _verify(plan, batch, before, session):
            raise NotAsPlanned(found)
        audit.record(
            applying.audit_select(plan_id, run_ids),
            dag_id=plan.dag_id,
            plan_id=plan.id,
            reason=reason,
            actor=actor,
            session=session,
        )


def _verify(
    plan: PlanSummary, batch: list[RunToClear], before: dict[Any, dict[str, Any]], session: Session
) -> list[Mismatch]:
    run_ids = [run.run_id for run in batch]
    planned = applying.planned_rows(UUID(plan.id), run_ids, session)
    found = clearing.read_task_instances(plan.dag_id, run_ids, session)
    if plan.selection.reset_dag_runs:
        versions = {run.run_id: run.after["dag_version_id"] for run in batch}
        before = runs.pinned(before, versions)
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


def _stop(plan_id: UUID, problem: dict[str, Any]) -> None:
    with new_session() as session:
        applying.transition(plan_id, "applying", "stopped", session, problem=problem, finished_at=_now())


def _drift_problem(drifted: Drifted) -> dict[str, Any]:
    return {
        "kind": "drift",
        "reason": f"{count(drifted.total, 'thing')} moved while the plan was being applied.",
        "remedy": "What was cleared before stands. Preview the same selection again for the rest.",
        "moved": [row.to_json() for row in drifted.moved],
        "total": drifted.total,
    }


def _error_problem(error: Exception) -> dict[str, Any]:
    return {
        "kind": "error",
        "reason": f"An error stopped the clear: {type(error).__name__}.",
        "remedy": "The transaction in hand was rolled back, what was cleared before stands. "
        "The log of the api-server says more; preview the same selection again for the rest.",
    }


def _mismatch_problem(result: NotAsPlanned) -> dict[str, Any]:
    return {
        "kind": "mismatch",
        "reason": "Airflow's clear did something else than the plan said, so it was rolled back.",
        "remedy": "Preview the same selection again. If it stops there again, report the rows below.",
        "mismatches": [str(mismatch) for mismatch in result.found[:50]],
        "total": len(result.found),
    }
