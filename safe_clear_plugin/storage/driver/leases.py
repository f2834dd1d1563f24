"""Leases: one driver at a time works on a plan. All moments are the database's.

A lease only keeps drivers out of each other's way. That nothing is cleared twice follows from what each batch
checks under its own locks: the plan's status, and which of its runs are done.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, not_, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.core.plan_records import DriverState
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.plan_lock import take_plan
from safe_clear_plugin.storage.tables import plan

LEASE = timedelta(seconds=30)
"""The time for which a silent driver keeps the others out; each batch begins it again."""
MISSED_AFTER = timedelta(seconds=60)
"""A plan that no driver has taken for so long since its next step was due has been interrupted."""

NO_LEASE: dict[str, Any] = {"lease_owner": None, "leased_until": None}
AT_REST: dict[str, Any] = {"next_step_at": None, **NO_LEASE}
"""The columns of a plan that has nothing to do."""


def take_next(owner: str, session: Session, only: UUID | None = None) -> UUID | None:
    """Lease the plan whose next step has been due longest, and return it; ``only`` names one.

    A plan that this driver holds, with most of the lease left, is returned without a write. A plan's row that
    a transaction holds is skipped: a batch of the plan is in progress.
    """
    mine = plan.c.lease_owner == owner
    conditions = [plan.c.next_step_at <= database_time(), or_(_is_free(), mine)]
    if only is not None:
        conditions.append(plan.c.id == only)
    is_fresh = and_(mine, plan.c.leased_until > database_time(LEASE.total_seconds() / 2))
    found = session.execute(
        select(plan.c.id, case((is_fresh, 1), else_=0).label("is_fresh"))
        .where(*conditions)
        .order_by(plan.c.next_step_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    ).one_or_none()
    if found is None:
        return None
    if not found.is_fresh:
        # On SQLite, which locks no rows, another driver may have been faster.
        lease = update(plan).where(plan.c.id == found.id, *conditions).values(**leased(owner))
        if count_written(lease, session) != 1:
            return None
    plan_id: UUID = found.id
    return plan_id


def leased(owner: str) -> dict[str, Any]:
    """Return the columns of a plan that a driver holds from now on."""
    return {"lease_owner": owner, "leased_until": database_time(LEASE.total_seconds())}


def is_held_by(owner: str) -> ColumnElement[bool]:
    """Whether no other driver has taken the plan since this one did, however long ago that is."""
    return plan.c.lease_owner == owner


def put_off(plan_id: UUID, owner: str, seconds: float, session: Session) -> bool:
    """Let the plan's next step be due after these seconds. Returns whether the driver still held it."""
    keeps = {} if seconds < LEASE.total_seconds() / 2 else NO_LEASE
    later = (
        update(plan)
        .where(plan.c.id == plan_id, is_held_by(owner), plan.c.next_step_at.is_not(None))
        .values(next_step_at=database_time(seconds), **keeps)
    )
    return count_written(later, session) == 1


def hold(plan_id: UUID, owner: str, session: Session) -> bool:
    """Take the plan's row for a transaction. Returns whether the driver still holds the plan."""
    return take_plan(plan_id, session, is_held_by(owner))


def rest(plan_id: UUID, owner: str, session: Session) -> None:
    """Give the plan no next step until a user requests one."""
    session.execute(update(plan).where(plan.c.id == plan_id, is_held_by(owner)).values(**AT_REST))


def rest_if_done(plan_id: UUID, owner: str, session: Session) -> bool:
    """The same, unless somebody has asked for something since the driver looked. Returns whether so."""
    done = and_(plan.c.id == plan_id, is_held_by(owner), not_(is_under_way()))
    return count_written(update(plan).where(done).values(**AT_REST), session) == 1


def release_all(owner: str, session: Session) -> None:
    """Give up all that the driver holds, for others to take at once."""
    session.execute(update(plan).where(is_held_by(owner)).values(**NO_LEASE))


def is_under_way() -> ColumnElement[bool]:
    """Whether the plan is being cleared or undone."""
    return or_(plan.c.status == PlanStatus.APPLYING.value, plan.c.undo_asked_runs > plan.c.undone_runs)


def is_missed() -> ColumnElement[bool]:
    """Whether the plan is in progress and no driver works on it, as in :attr:`PlanSummary.is_interrupted`."""
    due = plan.c.next_step_at <= database_time(-MISSED_AFTER.total_seconds())
    return and_(is_under_way(), due, _is_free())


def state_of(plan_id: UUID, session: Session) -> DriverState:
    """Return who works on a plan."""
    is_leased = and_(plan.c.next_step_at.is_not(None), plan.c.leased_until > database_time())
    row = session.execute(
        select(
            plan.c.lease_owner,
            case((is_leased, 1), else_=0).label("is_leased"),
            case((is_missed(), 1), else_=0).label("is_missed"),
        ).where(plan.c.id == plan_id)
    ).one_or_none()
    if row is None:
        return DriverState(None, is_working=False, is_missing=False)
    name = row.lease_owner if row.is_leased else None
    return DriverState(name, is_working=bool(row.is_leased), is_missing=bool(row.is_missed))


def _is_free() -> ColumnElement[bool]:
    return or_(plan.c.leased_until.is_(None), plan.c.leased_until <= database_time())
