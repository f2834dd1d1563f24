"""The statuses of a plan from ready to applied: each step is a compare-and-set on the plan's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Update, and_, case, null, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.plans.plan_status import is_interrupted
from safe_clear_plugin.storage.tables import plan


def transition(
    plan_id: UUID,
    before: str,
    after: str,
    session: Session,
    *,
    unexpired_at: datetime | None = None,
    seen: PlanSummary | None = None,
    **values: Any,
) -> bool:
    """Move the plan from one status to another, if it still has the first one. Returns whether it did.

    With ``unexpired_at``, also only if the plan holds beyond that moment; with ``seen``, only if nobody has
    asked for its approval or prolonged it since. Being a write, it takes SQLite's
    write lock and PostgreSQL's lock on the plan's row before anything else is read in the transaction.
    """
    conditions = [plan.c.id == plan_id, plan.c.status == before]
    if unexpired_at is not None:
        conditions.append(plan.c.expires_at > unexpired_at)
    if seen is not None:
        conditions.append(plan.c.expires_at == seen.expires_at)
        conditions.append(plan.c.approval_asked_at.is_not_distinct_from(seen.approval_asked_at))
    changed = update(plan).where(and_(*conditions)).values(status=after, **values)
    return count_written(changed, session) == 1


def claim(
    seen: PlanSummary,
    actor: Actor,
    at: datetime,
    session: Session,
    *,
    reason: str,
    acknowledged: Sequence[str],
    approved: bool,
    airflow_version: str,
) -> bool:
    """Take a ready plan that still holds for this actor alone. Returns whether it was there to be taken.

    It must stand as it was ``seen`` when its limits were checked: that somebody asks for its approval at the
    same time prolongs it.
    The reason with which its author asked for approval stays.
    """
    second = {"approved_by": actor.id, "approved_by_name": actor.name} if approved else {}
    return transition(
        UUID(seen.id),
        "ready",
        "applying",
        session,
        unexpired_at=at,
        seen=seen,
        reason=case((plan.c.approval_asked_at.is_(None), reason), else_=plan.c.reason),
        acknowledged=list(acknowledged),
        applied_by=actor.id,
        applied_by_name=actor.name,
        applied_at=at,
        last_step_at=at,
        airflow_version=airflow_version,
        **second,
    )


def resume(plan_id: UUID, before: str, actor: Actor, at: datetime, session: Session) -> bool:
    """Let an actor go on with a plan that was stopped or abandoned, unless its undo has begun.

    Only if its status is still the one that the actor knows: a stop in between stands. Returns whether so.
    """
    resumed = (
        update(plan)
        .where(plan.c.id == plan_id, plan.c.status == before, plan.c.undo_asked_runs == 0)
        .values(
            status="applying",
            problem=null(),
            finished_at=None,
            last_step_at=at,
            applied_by=actor.id,
            applied_by_name=actor.name,
        )
    )
    return count_written(resumed, session) == 1


def stop_if_abandoned(plan_id: UUID, problem: Mapping[str, Any], now: datetime, session: Session) -> None:
    """Stop a clear that has committed nothing for so long that it counts as abandoned."""
    session.execute(
        update(plan)
        .where(plan.c.id == plan_id, is_interrupted(now))
        .values(status="stopped", problem=problem, finished_at=now)
    )


def begin_batch(plan_id: UUID, at: datetime, session: Session) -> int | None:
    """Take the plan's row for one clearing transaction and return the batch's number.

    ``None`` when the plan is not being applied any more. Batches of one plan queue here.
    """
    return take_number(plan_id, at, session, plan.c.status == "applying")


def take_number(
    plan_id: UUID, at: datetime, session: Session, *conditions: ColumnElement[bool]
) -> int | None:
    """Write the next batch's number into the plan's row, if it meets the conditions, and return it."""
    write = (
        update(plan)
        .where(plan.c.id == plan_id, *conditions)
        .values(batches=plan.c.batches + 1, last_step_at=at)
    )
    row = write_returning(write, plan.c.batches, plan_id=plan_id, session=session)
    return row.batches if row else None


def write_returning(
    write: Update, *columns: ColumnElement[Any], plan_id: UUID, session: Session
) -> Row[Any] | None:
    """Write to a plan's row and return columns of it as they then are, if there was one to write to."""
    if session.get_bind().dialect.update_returning:
        return session.execute(write.returning(*columns)).one_or_none()
    if not count_written(write, session):
        return None
    return session.execute(select(*columns).where(plan.c.id == plan_id)).one()


def is_held(plan_id: UUID, session: Session) -> bool:
    """Whether a transaction holds the plan's row, as every clearing one does (not seen on SQLite)."""
    free = select(plan.c.id).where(plan.c.id == plan_id).with_for_update(skip_locked=True)
    return session.execute(free).one_or_none() is None
