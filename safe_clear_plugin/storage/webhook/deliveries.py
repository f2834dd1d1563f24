"""Delivering the messages of the outbox, in order within a plan.

All moments are the database's: the clocks of the processes that send may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.webhook import (
    KEPT_TRYING,
    Attempt,
    Delivery,
    DeliveryProblem,
    Event,
    wait_after,
)
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.tables import message

LEASE = timedelta(minutes=1)
"""The lease of a sender, longer than an attempt takes; after it another one sends the message."""


@dataclass(frozen=True, slots=True)
class Due:
    """A message to send now."""

    plan_id: UUID
    number: int
    id: UUID
    body: str
    attempts: int
    """Those before this one."""
    lease: UUID | None
    is_expired: bool


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A message that was given up."""

    number: int
    event: Event
    created_at: datetime
    attempts: int
    problem: DeliveryProblem
    http_status: int | None


def next_due(session: Session) -> Due | None:
    """Return the message that is due longest, of those with none before them in their plan."""
    earlier = message.alias("earlier")
    is_behind = exists().where(
        earlier.c.plan_id == message.c.plan_id,
        earlier.c.number < message.c.number,
        earlier.c.delivery == Delivery.PENDING.value,
    )
    row = session.execute(
        select(
            *(message.c[name] for name in ("plan_id", "number", "id", "body", "attempts", "lease")),
            case((_is_expired(), 1), else_=0).label("is_expired"),
        )
        .where(
            message.c.delivery == Delivery.PENDING.value,
            message.c.next_attempt_at <= database_time(),
            ~is_behind,
        )
        .order_by(message.c.next_attempt_at)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return Due(
        row.plan_id,
        row.number,
        row.id,
        row.body,
        attempts=row.attempts,
        lease=row.lease,
        is_expired=bool(row.is_expired),
    )


def take(due: Due, session: Session) -> Due | None:
    """Lease the message for one attempt, and return it with its lease, if no other sender was faster."""
    lease = uuid4()
    taken = {
        "lease": lease,
        "attempts": message.c.attempts + 1,
        "next_attempt_at": database_time(LEASE.total_seconds()),
    }
    if not _write(due, session, **taken):
        return None
    return replace(due, lease=lease)


def give_up(due: Due, session: Session) -> bool:
    """Give up a message that is too old, unless a sender was faster. Returns whether this did."""
    return _write(due, session, delivery=Delivery.FAILED.value, problem=_problem(), lease=None)


def record(due: Due, attempt: Attempt, session: Session) -> bool:
    """Record the result of an attempt, unless another sender has the message by now. Return whether so."""
    if attempt.problem is None:
        return _write(
            due,
            session,
            delivery=Delivery.DELIVERED.value,
            delivered_at=database_time(),
            problem=None,
            http_status=attempt.http_status,
            lease=None,
        )
    wait = max(attempt.retry_after or timedelta(0), wait_after(due.attempts + 1))
    again_at = database_time(wait.total_seconds())
    too_late = message.c.expires_at <= again_at
    return _write(
        due,
        session,
        delivery=case((too_late, Delivery.FAILED.value), else_=Delivery.PENDING.value),
        next_attempt_at=again_at,
        problem=attempt.problem.value,
        http_status=attempt.http_status,
        lease=None,
    )


def undelivered(plan_id: UUID, session: Session) -> list[Undelivered]:
    """Return the messages of a plan that were given up, or that no driver sent in time."""
    columns = ("number", "event", "created_at", "attempts", "http_status")
    rows = session.execute(
        select(*(message.c[name] for name in columns), _problem().label("problem"))
        .where(message.c.plan_id == plan_id, _is_undelivered())
        .order_by(message.c.number)
    )
    return [
        Undelivered(
            number=row.number,
            event=Event(row.event),
            created_at=row.created_at,
            attempts=row.attempts,
            problem=DeliveryProblem(row.problem),
            http_status=row.http_status,
        )
        for row in rows
    ]


def plans_with_undelivered(plan_ids: Sequence[UUID], session: Session) -> set[UUID]:
    """Return the plans that have a message which was given up, or not sent in time."""
    found = select(message.c.plan_id).where(message.c.plan_id.in_(plan_ids), _is_undelivered())
    return set(session.scalars(found.distinct()))


def send_again(plan_id: UUID, session: Session) -> int:
    """Let the :func:`undelivered` messages of a plan be sent again, and return their number."""
    again = {
        "delivery": Delivery.PENDING.value,
        "attempts": 0,
        "next_attempt_at": database_time(),
        "expires_at": database_time(KEPT_TRYING.total_seconds()),
    }
    return count_written(
        update(message).where(message.c.plan_id == plan_id, _is_undelivered()).values(**again), session
    )


def _is_undelivered() -> ColumnElement[bool]:
    """Whether a message was given up, or will be given up by the next driver. Perhaps no driver runs."""
    is_late = and_(message.c.delivery == Delivery.PENDING.value, _is_expired())
    return or_(message.c.delivery == Delivery.FAILED.value, is_late)


def _is_expired() -> ColumnElement[bool]:
    return message.c.expires_at <= database_time()


def _problem() -> ColumnElement[str]:
    """Return the problem of the last attempt; without an attempt, that none was made in time."""
    return func.coalesce(message.c.problem, DeliveryProblem.EXPIRED.value)


def _write(due: Due, session: Session, **values: Any) -> bool:
    """Write to a message that is as it was read, and say whether it was."""
    as_read = and_(
        message.c.plan_id == due.plan_id,
        message.c.number == due.number,
        message.c.delivery == Delivery.PENDING.value,
        message.c.lease.is_not_distinct_from(due.lease),
    )
    return count_written(update(message).where(as_read).values(**values), session) == 1
