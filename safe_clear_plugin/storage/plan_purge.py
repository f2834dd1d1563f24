"""The plans that are past their retention, and removing them a bounded number of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Delete,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.storage.change_sets import records
from safe_clear_plugin.storage.plan_lock import take_plan
from safe_clear_plugin.storage.tables import metadata, plan, plan_run

ROWS = 5_000
"""Rows that one transaction removes at most."""
EXPIRED_ROWS_KEPT = 200_000
"""Task instances that plans which expired unconfirmed may hold together, besides the newest of them."""

UNCONFIRMED: tuple[PlanStatus, ...] = (PlanStatus.READY, PlanStatus.STALE)
"""Statuses of plans that have cleared nothing."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The retention of plans, at one moment.

    Those that nobody confirmed go once they expired before ``expired_before``; of those that expired until
    ``now``, the oldest also go where they hold too much together. All others go once their last step was
    before ``decided_before``; ``None`` keeps them forever.
    """

    now: datetime
    expired_before: datetime
    decided_before: datetime | None

    def is_over(self) -> ColumnElement[bool]:
        """Whether a plan is past its retention, as a condition on the plan table.

        Such a plan can't be confirmed, continued or undone: its rows are being removed. A plan of a change
        set is past its retention only when all plans of the set are.
        """
        other = plan.alias("other")
        is_kept = self._is_over_alone(other).is_not(true())
        with_others = exists().where(other.c.change_set_id == plan.c.change_set_id, is_kept)
        return and_(self._is_over_alone(plan), ~with_others)

    def _is_over_alone(self, of: FromClause) -> ColumnElement[bool]:
        """Whether a plan by itself is past its retention, without regard to its change set."""
        unconfirmed = of.c.status.in_(UNCONFIRMED)
        expired = and_(unconfirmed, or_(of.c.expires_at < self.expired_before, self._crowded_out(of)))
        if self.decided_before is None:
            return expired
        last = func.coalesce(of.c.last_step_at, of.c.applied_at, of.c.declined_at)
        # The next step of a driver can be far off: a clear that has a start time keeps its rows until then.
        at_rest = of.c.next_step_at.is_(None)
        return or_(expired, and_(~unconfirmed, at_rest, last < self.decided_before))

    def _crowded_out(self, plans: FromClause) -> ColumnElement[bool]:
        """Whether the plans that expired after this one hold more than is kept of such."""
        of = plan.alias("expired")
        newer = func.sum(of.c.task_instances).over(
            order_by=(of.c.expires_at.desc(), of.c.id), rows=(None, -1)
        )
        ranked = (
            select(of.c.id, newer.label("newer"))
            .where(of.c.status.in_(UNCONFIRMED), of.c.expires_at <= self.now)
            .subquery()
        )
        return plans.c.id.in_(select(ranked.c.id).where(ranked.c.newer > EXPIRED_ROWS_KEPT))


def is_over(plan_id: UUID, retention: Retention, session: Session) -> bool:
    """Whether the plan has had its time."""
    found = session.scalar(select(plan.c.id).where(plan.c.id == plan_id, retention.is_over()))
    return found is not None


def any_is_over(retention: Retention, session: Session) -> bool:
    """Whether there is a plan to remove."""
    values = {"now": retention.now, "expired_before": retention.expired_before}
    if retention.decided_before:
        values["decided_before"] = retention.decided_before
    return session.scalar(_first_over(keeps_forever=not retention.decided_before), values) is not None


@cache
def _first_over(*, keeps_forever: bool) -> Select[Any]:
    """Select a plan to remove; written once, since every preview asks."""
    at: dict[str, Any] = {name: bindparam(name) for name in ("now", "expired_before", "decided_before")}
    if keeps_forever:
        at["decided_before"] = None
    return select(plan.c.id).where(Retention(**at).is_over()).limit(1)


def purge(retention: Retention, session: Session) -> int:
    """Remove up to :data:`ROWS` rows of one plan that has had its time, and return how many.

    A larger plan goes in several transactions, its own row in the last one: one that was cut short is gone on
    with. Several processes may purge at once. 0 means that nothing is left to do here.
    """
    plan_id = _take_oldest(retention, session)
    if plan_id is None:
        records.delete_all_empty(retention.expired_before, session)
        return 0
    left = ROWS
    for table in _tables():
        left -= count_written(_delete_some(table, plan_id, left, session), session)
        if left <= 0:
            return ROWS
    set_id = session.scalar(select(plan.c.change_set_id).where(plan.c.id == plan_id))
    session.execute(delete(plan).where(plan.c.id == plan_id))
    if set_id is not None:
        records.delete_empty(set_id, session)
    return ROWS - left + 1


def _take_oldest(retention: Retention, session: Session) -> UUID | None:
    over = retention.is_over()
    query = select(plan.c.id).where(over).order_by(plan.c.created_at).limit(1)
    plan_id = session.scalar(query.with_for_update(skip_locked=True, of=plan))
    # The write takes SQLite's only lock: from here on nobody begins a step that makes the plan a younger one.
    return plan_id if plan_id and take_plan(plan_id, session, over) else None


def _tables() -> list[Table]:
    """Return the tables with rows of a plan; its dag runs last, by which it is known what was cleared."""
    tables = [table for table in reversed(metadata.sorted_tables) if "plan_id" in table.c]
    return sorted(tables, key=lambda table: table is plan_run)


def _delete_some(table: Table, plan_id: UUID, most: int, session: Session) -> Delete:
    """Return the statement that deletes up to ``most`` rows of a plan, found by their places."""
    of = table.alias("chosen")
    postgresql = session.get_bind().dialect.name == "postgresql"
    place = "ctid" if postgresql else "rowid"
    places: Select[Any] = (
        select(literal_column(f"chosen.{place}")).select_from(of).where(of.c.plan_id == plan_id)
    )
    chosen = places.limit(most).scalar_subquery()
    here: ColumnElement[int] = literal_column(place)
    # An array makes PostgreSQL read only these places, regardless of its estimate of the table's size.
    return delete(table).where(here == func.any(func.array(chosen)) if postgresql else here.in_(chosen))
