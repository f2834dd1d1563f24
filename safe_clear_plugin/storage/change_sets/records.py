"""Change sets as records: writing them, reading them with their plans, and recording decisions about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet, LeftOutDag
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.plans.plan_summary import select_plans, summary
from safe_clear_plugin.storage.tables import change_set, plan


def insert_set(values: Mapping[str, Any], session: Session) -> None:
    """Write a set's own row."""
    session.execute(insert(change_set).values(**values))


def finish(set_id: UUID, fingerprint: str, left_out: Sequence[LeftOutDag], session: Session) -> None:
    """Write the values that are known only once the set's plans are written."""
    _write(set_id, session, fingerprint=fingerprint, left_out=[dag.to_json() for dag in left_out])


def get(set_id: UUID, session: Session) -> ChangeSet | None:
    """Return a set with its plans, as long as it has plans."""
    row = session.execute(select(change_set).where(change_set.c.id == set_id)).one_or_none()
    plans = plans_of(set_id, session) if row else ()
    return _change_set(row, plans) if row and plans else None


def sets_by_id(set_ids: Sequence[UUID], session: Session) -> dict[UUID, ChangeSet]:
    """Return the sets by id, each with its plans, as long as there are any."""
    if not set_ids:
        return {}
    plans: dict[UUID, list[PlanSummary]] = {}
    query = select_plans().where(plan.c.change_set_id.in_(set_ids)).order_by(plan.c.position)
    for row in session.execute(query):
        plans.setdefault(row.change_set_id, []).append(summary(row))
    rows = session.execute(select(change_set).where(change_set.c.id.in_(plans)))
    return {row.id: _change_set(row, tuple(plans[row.id])) for row in rows}


def plans_of(set_id: UUID, session: Session) -> tuple[PlanSummary, ...]:
    """Return the plans of a set in the order in which they are cleared."""
    query = select_plans().where(plan.c.change_set_id == set_id).order_by(plan.c.position)
    return tuple(summary(row) for row in session.execute(query))


def count_plans(set_id: UUID, session: Session) -> int:
    """Return the number of plans in a set."""
    return session.scalar(select(func.count()).select_from(plan).where(plan.c.change_set_id == set_id)) or 0


def record_claim(set_id: UUID, actor: Actor, reason: str, at: datetime, session: Session) -> None:
    """Store the user who applies the set, and the reason."""
    _write(
        set_id,
        session,
        applied_by=actor.id,
        applied_by_name=actor.name,
        applied_at=at,
        **({"reason": reason} if reason else {}),
    )


def record_request(set_id: UUID, reason: str, expires_at: datetime, session: Session) -> None:
    """Store the author's reason for approval by a second person, and the new expiry of the set."""
    _write(set_id, session, reason=reason, expires_at=expires_at)


def delete_empty(set_id: UUID, session: Session) -> None:
    """Remove a set whose last plan has been removed."""
    has_plans = exists().where(plan.c.change_set_id == set_id)
    session.execute(delete(change_set).where(change_set.c.id == set_id, ~has_plans))


def delete_all_empty(made_before: datetime, session: Session) -> None:
    """Remove sets without plans: two purgers that remove the last two plans at once leave their set."""
    has_plans = exists().where(plan.c.change_set_id == change_set.c.id)
    session.execute(delete(change_set).where(change_set.c.created_at < made_before, ~has_plans))


def _write(set_id: UUID, session: Session, **values: Any) -> None:
    session.execute(update(change_set).where(change_set.c.id == set_id).values(**values))


def _change_set(row: Row[Any], plans: tuple[PlanSummary, ...]) -> ChangeSet:
    return ChangeSet(
        id=row.id.hex,
        made_from=row.made_from,
        left_out=tuple(map(LeftOutDag.from_json, row.left_out)),
        fingerprint=row.fingerprint,
        created_by=row.created_by,
        created_by_name=row.created_by_name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        reason=row.reason,
        applied_by=row.applied_by,
        applied_by_name=row.applied_by_name,
        applied_at=row.applied_at,
        plans=plans,
    )
