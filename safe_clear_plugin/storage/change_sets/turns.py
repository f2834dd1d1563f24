"""The turns within a change set: one plan is cleared at a time, and one plan is undone at a time.

A plan that waits for its turn is in progress and has no next step. The transaction that ends a plan gives the
turn to the next one, so that no crash loses the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.waves import WaveState
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.driver.leases import AT_REST
from safe_clear_plugin.storage.tables import plan

IS_CLEARED: ColumnElement[bool] = plan.c.status == PlanStatus.APPLYING.value
IS_UNDONE: ColumnElement[bool] = plan.c.undo_asked_runs > plan.c.undone_runs


def lock_all(set_id: UUID, session: Session) -> None:
    """Lock the rows of all plans of a set in their order, for a transaction that may change several of them.

    The transaction begins with this, so that no two transactions wait for each other. On SQLite the first
    write of the transaction locks.
    """
    if session.get_bind().dialect.name != "sqlite":
        rows = select(plan.c.id).where(plan.c.change_set_id == set_id).order_by(plan.c.position)
        session.execute(rows.with_for_update(key_share=True)).all()


def lock_with_others(of: PlanSummary, session: Session) -> None:
    """Lock the rows of a plan's whole set, if the plan is in a set."""
    if of.change_set_id:
        lock_all(UUID(of.change_set_id), session)


def give_turn(of: PlanSummary, session: Session) -> None:
    """If the plan is in a set, let the next plan of the set begin, for the clear and for the undo."""
    if of.change_set_id:
        go_on_with_clear(UUID(of.change_set_id), session)
        go_on_with_undo(UUID(of.change_set_id), session)


def go_on_with_clear(set_id: UUID, session: Session) -> None:
    """Let the first plan that waits for its turn to be cleared begin, unless one is being cleared."""
    _wake_next(set_id, IS_CLEARED, plan.c.position.asc(), session)


def go_on_with_undo(set_id: UUID, session: Session) -> None:
    """Let the last plan that waits for its turn to be undone begin, unless one is being undone."""
    _wake_next(set_id, IS_UNDONE, plan.c.position.desc(), session)


def let_wait(plan_ids: Sequence[UUID], session: Session) -> None:
    """Let plans that were just begun wait for their turn."""
    session.execute(update(plan).where(plan.c.id.in_(plan_ids)).values(**AT_REST))


def counted_with(of: PlanSummary, session: Session) -> list[tuple[UUID, str]]:
    """Return id and DAG id of the plans of its set, in their order; for a single plan, only its own."""
    if not of.change_set_id:
        return [(UUID(of.id), of.dag_id)]
    query = select(plan.c.id, plan.c.dag_id).where(plan.c.change_set_id == UUID(of.change_set_id))
    return [(row.id, row.dag_id) for row in session.execute(query.order_by(plan.c.position))]


def in_turn(set_id: UUID, session: Session) -> UUID | None:
    """Return the plan of a set that is being cleared, or is the next to be; ``None`` if none is under way."""
    under_way = select(plan.c.id).where(plan.c.change_set_id == set_id, IS_CLEARED)
    return session.scalar(under_way.order_by(plan.c.position).limit(1))


def write_under_way(set_id: UUID, session: Session, **values: Any) -> None:
    """Write columns of the plans of a set that are being cleared or wait to be cleared."""
    session.execute(update(plan).where(plan.c.change_set_id == set_id, IS_CLEARED).values(**values))


def stop_behind(of: PlanSummary, problem: dict[str, Any], at: datetime, session: Session) -> list[UUID]:
    """Stop the plans of its set that wait to be cleared after this one. Return them."""
    if not of.change_set_id:
        return []
    behind = and_(plan.c.change_set_id == UUID(of.change_set_id), plan.c.position > of.position, IS_CLEARED)
    found = list(session.scalars(select(plan.c.id).where(behind).order_by(plan.c.position)))
    stopped = {"status": PlanStatus.STOPPED.value, "problem": problem, "finished_at": at, **AT_REST}
    session.execute(update(plan).where(plan.c.id.in_(found), IS_CLEARED).values(**stopped))
    return found


def waiting_to_be_undone(of: PlanSummary, session: Session) -> list[UUID]:
    """Return the plans of its set that wait to be undone after this one, the next one first."""
    if not of.change_set_id:
        return []
    ahead = and_(
        plan.c.change_set_id == UUID(of.change_set_id),
        plan.c.position < of.position,
        plan.c.next_step_at.is_(None),
        IS_UNDONE,
    )
    return list(session.scalars(select(plan.c.id).where(ahead).order_by(plan.c.position.desc())))


def _wake_next(set_id: UUID, waits: ColumnElement[bool], order: Any, session: Session) -> None:
    under_way = and_(plan.c.change_set_id == set_id, waits)
    # A plan that waits for a person has its turn, too.
    is_awake = or_(
        plan.c.next_step_at.is_not(None),
        and_(IS_CLEARED, plan.c.wave_state == WaveState.WAITING_FOR_PERSON.value),
    )
    awake = select(plan.c.id).where(under_way, is_awake).limit(1)
    if session.execute(awake).one_or_none() is not None:
        return
    next_one = select(plan.c.id).where(under_way).order_by(order).limit(1)
    if (plan_id := session.scalar(next_one)) is not None:
        asleep = (plan.c.id == plan_id, waits, plan.c.next_step_at.is_(None))
        count_written(update(plan).where(*asleep).values(next_step_at=database_time()), session)
