"""The statuses of a plan from ready to applied: each step is a compare-and-set on the plan's row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Update, and_, case, null, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import JOIN_RUNS, settings_columns
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.waves import Pace, Waves, WaveState
from safe_clear_plugin.storage.clear import wave_state
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.driver.leases import AT_REST, is_held_by, leased
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
    waves: Waves | None,
) -> bool:
    """Take a ready plan that still holds for this actor alone. Returns whether it was there to be taken.

    It must stand as it was ``seen`` when its limits were checked: that somebody asks for its approval at the
    same time prolongs it.
    The reason with which its author asked for approval stays. From now on a driver clears it.
    """
    why = case((plan.c.approval_asked_at.is_(None), reason), else_=plan.c.reason)
    second = {"approved_by": actor.id, "approved_by_name": actor.name} if approved else {}
    return transition(
        UUID(seen.id),
        "ready",
        "applying",
        session,
        unexpired_at=at,
        seen=seen,
        reason=why,
        acknowledged=list(acknowledged),
        applied_by=actor.id,
        applied_by_name=actor.name,
        applied_at=at,
        last_step_at=at,
        airflow_version=airflow_version,
        **asked_by(actor, why),
        **wave_state.chosen(waves, at),
        **second,
    )


def asked_by(actor: Actor, reason: str | ColumnElement[str]) -> dict[str, Any]:
    """Return the columns of a plan that a driver begins with at once, in somebody's name."""
    return {
        "requested_by": actor.id,
        "requested_by_name": actor.name,
        "request_reason": reason,
        "next_step_at": database_time(),
    }


def resume(
    seen: PlanSummary,
    actor: Actor,
    at: datetime,
    session: Session,
    *,
    reason: str,
    pace: Pace,
) -> bool:
    """Let a driver go on with a plan that was stopped, or take one over, unless its undo has begun.

    Nothing is written if the plan has changed since the actor has ``seen`` it: a stop in between stays.
    Return whether the plan was taken.
    """
    resumed = (
        update(plan)
        .where(
            plan.c.id == UUID(seen.id),
            plan.c.status == seen.status,
            plan.c.finished_at.is_not_distinct_from(seen.finished_at),
            plan.c.undo_asked_runs == 0,
        )
        .values(
            status="applying",
            problem=null(),
            finished_at=None,
            last_step_at=at,
            applied_by=actor.id,
            applied_by_name=actor.name,
            **asked_by(actor, reason),
            **(wave_state.chosen(pace.waves, at) if pace.is_chosen else {}),
        )
    )
    return count_written(resumed, session) == 1


def stop(
    plan_id: UUID,
    problem: dict[str, Any],
    at: datetime,
    session: Session,
    *,
    driver: str | None = None,
    only_waiting: bool = False,
) -> bool:
    """Stop a clear after its current batch; a ``driver`` can do that only if it holds the plan.

    With ``only_waiting``, only while it waits for a person.

    Return whether it was being cleared.
    """
    conditions = [plan.c.id == plan_id, plan.c.status == "applying"]
    if driver is not None:
        conditions.append(is_held_by(driver))
    if only_waiting:
        conditions.append(plan.c.wave_state == WaveState.WAITING_FOR_PERSON.value)
    stopped = (
        update(plan).where(*conditions).values(status="stopped", problem=problem, finished_at=at, **AT_REST)
    )
    return count_written(stopped, session) == 1


def begin_batch(plan_id: UUID, at: datetime, driver: str, session: Session) -> int | None:
    """Take the plan's row for one clearing transaction and return the batch's number.

    ``None`` when the plan is not being applied any more, or another driver has taken it. Batches of one plan
    queue here.
    """
    return take_number(plan_id, at, driver, session, plan.c.status == "applying")


def take_number(
    plan_id: UUID, at: datetime, driver: str, session: Session, *conditions: ColumnElement[bool]
) -> int | None:
    """Write the next batch's number into the plan's row, if it meets the conditions, and return it.

    The driver's lease begins again. What comes next in the transaction is as after
    :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`.
    """
    write = (
        update(plan)
        .where(plan.c.id == plan_id, is_held_by(driver), *conditions)
        .values(batches=plan.c.batches + 1, last_step_at=at, **leased(driver))
    )
    columns = (plan.c.batches, *settings_columns(JOIN_RUNS, session))
    row = write_returning(write, *columns, plan_id=plan_id, session=session)
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
