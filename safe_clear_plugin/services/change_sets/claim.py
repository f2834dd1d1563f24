"""Claiming all plans of a change set in one transaction, or none; and the reasons for a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.joins import join_runs
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import SetRequirements
from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import Pace
from safe_clear_plugin.core.webhook import Event
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.clear import stop_texts
from safe_clear_plugin.services.clear.claim import require_supported_database
from safe_clear_plugin.services.clear.claim_errors import claim_error
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.storage.change_sets import records, turns
from safe_clear_plugin.storage.clear import drift, status
from safe_clear_plugin.storage.webhook import outbox

NOTHING_CLEARED = "Nothing was cleared."


@dataclass(frozen=True, slots=True)
class _Drift:
    """The drift of a plan since its preview: the first rows, their number, and the reason."""

    rows: Sequence[DriftedRow]
    total: int
    cause: str


def claim_set(
    of: ChangeSet, reason: str, actor: Actor, now: datetime, *, asked: SetRequirements, pace: Pace
) -> None:
    """Claim every plan for the actor, if each still holds, and let the first one begin.

    If a plan has drifted, it becomes stale, no plan is claimed, and the set can no longer be claimed. A set
    that has changed since the caller saw it is left alone.
    """
    drifted = retrying(_claim, of, reason, actor, now, asked=asked, pace=pace)
    if drifted:
        retrying(_mark_stale, of, drifted, actor, now)


def _claim(
    of: ChangeSet, reason: str, actor: Actor, now: datetime, *, asked: SetRequirements, pace: Pace
) -> dict[str, _Drift]:
    set_id = UUID(of.id)
    with new_session() as session:
        turns.lock_all(set_id, session)
        if not all(
            _claim_plan(one, reason, actor, now, asked=asked, pace=pace, session=session) for one in of.plans
        ):
            session.rollback()
            return {}
        require_supported_database(session)
        join_runs(session)
        found = {plan.id: drift.find_drift(plan, session) for plan in of.plans}
        drifted = {
            plan.id: _Drift(rows, total, stop_texts.cause_of_drift(rows, plan.dag_id, session))
            for plan in of.plans
            for rows, total in (found[plan.id],)
            if rows
        }
        if drifted:
            session.rollback()
            return drifted
        records.record_claim(set_id, actor, "" if asked.approval else reason, now, session)
        turns.let_wait([UUID(plan.id) for plan in of.plans], session)
        turns.go_on_with_clear(set_id, session)
        outbox.tell(Event.STARTED, UUID(of.plans[0].id), session, by=actor.name)
    return {}


def _claim_plan(
    plan: PlanSummary,
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    asked: SetRequirements,
    pace: Pace,
    session: Session,
) -> bool:
    return status.claim(
        plan,
        actor,
        now,
        session,
        reason=reason,
        acknowledged=asked.acknowledged_of(plan.dag_id),
        approved=asked.approval,
        airflow_version=config.AIRFLOW_VERSION,
        waves=pace.waves,
    )


def _mark_stale(of: ChangeSet, drifted: dict[str, _Drift], actor: Actor, now: datetime) -> None:
    with new_session() as session:
        turns.lock_all(UUID(of.id), session)
        marked = [
            plan_id
            for plan_id, found in drifted.items()
            if status.transition(
                UUID(plan_id),
                PlanStatus.READY.value,
                PlanStatus.STALE.value,
                session,
                problem=stop_texts.stale(found.rows, found.total, found.cause).to_json(),
                finished_at=now,
            )
        ]
        if marked:
            outbox.tell(Event.STOPPED, UUID(marked[0]), session, by=actor.name)


def set_claim_error(of: ChangeSet, now: datetime) -> Refused:
    """Return why a change set in its current state can neither be claimed nor declined."""
    shown = of.shown_status(now)
    who = of.applied_by_name or ""
    details = {"status": shown}
    if shown in (ShownStatus.EXPIRED, ShownStatus.READY, ShownStatus.WAITING):
        if shown == ShownStatus.EXPIRED:
            problem = Problem(f"The change set has expired. {NOTHING_CLEARED}", "Preview it again.")
            return Refused(410, problem)
        problem = Problem(
            f"Someone has changed this change set in the meantime. {NOTHING_CLEARED}",
            "Open it and review it again.",
        )
    elif shown == ShownStatus.DECLINED:
        plan = of.plans[0]
        did = "withdrew" if plan.is_withdrawn else "declined"
        problem = Problem(
            f"{plan.declined_by_name} {did} the change set. {NOTHING_CLEARED}", "Preview it again."
        )
    elif shown == ShownStatus.STALE:
        return _stale(of)
    elif of.is_applying:
        problem = Problem(f"{who} is applying the change set.", "Its page shows the progress.")
    elif shown == ShownStatus.STOPPED:
        problem = _stopped(of)
    elif shown == ShownStatus.UNDONE:
        problem = Problem("The change set has been undone, so it can't continue.", "Preview it again.")
    else:
        problem = Problem(f"{who} has already applied the change set.", "Its page shows what was cleared.")
    return Refused(409, problem, details)


def _stale(of: ChangeSet) -> Refused:
    """Return the refusal that names each DAG that drifted, and how."""
    found = []
    for plan in of.plans:
        if plan.status == PlanStatus.STALE:
            why = claim_error(plan)
            found.append(RefusedDag(plan.dag_id, 409, why.problem.reason, why.problem.remedy, why.details))
    try:
        refuse(found, "No Dag of the change set was cleared.")
    except Refused as refused:
        return Refused(409, refused.problem, {**refused.details, "status": ShownStatus.STALE})
    raise AssertionError("a stale change set has a stale plan")


def _stopped(of: ChangeSet) -> Problem:
    plan = of.stopped_plan
    why = plan.stop_reason if plan else None
    if plan and why and why.reason:
        return Problem(f"{plan.dag_id}: {why.reason}", why.remedy)
    return Problem("The change set was stopped before it was complete.", "Continue it, or undo it.")
