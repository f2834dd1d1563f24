"""Removing plans that have had their time, a bounded number of rows at a time."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.storage.models import metadata, plan, plan_run

ROWS = 5_000
"""Task instances of plans that one call removes, about; a larger dag run goes in one piece."""


def purge(unapplied_before: datetime, applied_before: datetime | None, session: Session) -> int:
    """Remove rows of one plan that expired undecided, or whose last step is older than the receipts are kept.

    A large plan goes in several calls: first its dag runs, with all that hangs on them, then itself. Returns
    how many dag runs went.
    """
    plan_id = _oldest(unapplied_before, applied_before, session)
    if plan_id is None:
        return 0
    run_ids = _some_runs(plan_id, session)
    for table in reversed(metadata.sorted_tables):
        if "run_id" in table.c:
            session.execute(delete(table).where(table.c.plan_id == plan_id, table.c.run_id.in_(run_ids)))
    if session.scalar(select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id).limit(1)) is None:
        for table in reversed(metadata.sorted_tables):
            if "plan_id" in table.c:
                session.execute(delete(table).where(table.c.plan_id == plan_id))
        session.execute(delete(plan).where(plan.c.id == plan_id))
    return len(run_ids)


def _oldest(unapplied_before: datetime, applied_before: datetime | None, session: Session) -> UUID | None:
    doomed = and_(plan.c.status.in_(("ready", "stale")), plan.c.expires_at < unapplied_before)
    if applied_before is not None:
        decided = plan.c.status.in_(("applying", "applied", "stopped", "undone", "declined"))
        last = func.coalesce(plan.c.last_step_at, plan.c.applied_at, plan.c.declined_at)
        doomed = or_(doomed, and_(decided, last < applied_before))
    query = select(plan.c.id).where(doomed).order_by(plan.c.created_at).limit(1)
    return session.scalar(query.with_for_update(skip_locked=True))


def _some_runs(plan_id: UUID, session: Session) -> list[str]:
    runs = session.execute(
        select(plan_run.c.run_id, plan_run.c.task_instances)
        .where(plan_run.c.plan_id == plan_id)
        .order_by(plan_run.c.run_id)
        .limit(ROWS)
    )
    chosen: list[str] = []
    rows = 0
    for run in runs:
        rows += run.task_instances
        if chosen and rows > ROWS:
            break
        chosen.append(run.run_id)
    return chosen
