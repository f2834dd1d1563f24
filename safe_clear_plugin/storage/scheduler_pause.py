"""Until when the scheduler's lock is left to the schedulers: one row, which every api-server knows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from sqlalchemy import case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.base import UtcDateTime
from safe_clear_plugin.storage.models import scheduler_pause as pause

ONLY_ROW = 1
TURN_LOCK = (0x5AFE, 0xC1EA)
"""Ours alone: Airflow's advisory locks are single numbers, which PostgreSQL keeps apart from pairs."""


def take_turn(session: Session) -> bool:
    """Be the only transaction that is about to take the scheduler's lock, until it ends, if nobody else is.

    So nobody queues for that lock, and takes it straight from the one before. SQLite has one writer anyway.
    """
    if not _is_postgresql(session):
        return True
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(*TURN_LOCK))))


def seconds_left(session: Session) -> float:
    """Return for how many more seconds the scheduler's lock is not to be taken."""
    ends_at = session.scalar(select(pause.c.ends_at).where(pause.c.id == ONLY_ROW))
    return max(0.0, (ends_at - _now(session)).total_seconds()) if ends_at else 0.0


def extend(seconds: float, session: Session) -> None:
    """Leave the lock alone for this number of seconds from now on, or longer if that was said before."""
    ends_at = _now(session) + timedelta(seconds=seconds)
    insert = postgresql.insert if _is_postgresql(session) else sqlite.insert
    row = insert(pause).values(id=ONLY_ROW, ends_at=ends_at)
    later = case((pause.c.ends_at > row.excluded.ends_at, pause.c.ends_at), else_=row.excluded.ends_at)
    session.execute(row.on_conflict_do_update(index_elements=[pause.c.id], set_={"ends_at": later}))


def _now(session: Session) -> datetime:
    """Return the database's time, since the clocks of several api-servers differ."""
    if not _is_postgresql(session):
        return datetime.now(timezone.utc)
    now: datetime = session.execute(select(func.clock_timestamp(type_=UtcDateTime))).scalar_one()
    return now


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
