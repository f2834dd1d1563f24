"""Until when Safe Clear leaves the scheduler's lock to the schedulers: one row for all api-servers."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.storage.tables import scheduler_pause as pause

ONLY_ROW = 1
TURN_LOCK = (0x5AFE, 0xC1EA)
"""Ours alone: Airflow's advisory locks are single numbers, which PostgreSQL keeps apart from pairs."""


def take_turn(session: Session) -> bool:
    """Keep Safe Clear's other transactions from the scheduler's lock; ``False`` if one tries to get it.

    So no two of them queue for that lock and take it one directly after the other. SQLite has one writer
    anyway.
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
        return utcnow()
    now: datetime = session.execute(select(func.clock_timestamp(type_=UtcDateTime))).scalar_one()
    return now


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
