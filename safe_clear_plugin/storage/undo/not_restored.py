"""The size of a requested undo, and the task instances that it could not restore."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS, SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.undo import SchedulerChange, UndoCount, UndoStay, Verdict
from safe_clear_plugin.storage.rows import map_label
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows = plan_task_instance


def count_requested(plan_id: UUID, session: Session) -> int:
    """Count the task instances of the runs that somebody asked to undo."""
    asked = plan_run.c.plan_id == plan_id, plan_run.c.undo_asked_at.is_not(None)
    return session.scalar(select(func.coalesce(func.sum(plan_run.c.task_instances), 0)).where(*asked)) or 0


def _not_restored(plan_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return (
        rows.c.plan_id == plan_id,
        rows.c.effect.in_(CLEARED_EFFECTS),
        rows.c.undo != Verdict.PUT_BACK.value,
    )


def count_not_restored(plan_id: UUID, session: Session) -> list[UndoCount]:
    """Count what the undo left as it was, by reason and by the state that it was found in."""
    counted = func.count().label("n")
    found = session.execute(
        select(rows.c.undo, rows.c.state, rows.c.undo_state, counted)
        .where(*_not_restored(plan_id))
        .group_by(rows.c.undo, rows.c.state, rows.c.undo_state)
        .order_by(counted.desc(), rows.c.undo, rows.c.undo_state)
    )
    return [UndoCount(Verdict(row.undo), row.state, row.undo_state, row.n) for row in found]


def scheduler_changes(plan_id: UUID, session: Session) -> list[SchedulerChange]:
    """Return what the scheduler had done because of the clear, and whether the undo took it back."""
    created = rows.c.effect == Effect.SCHEDULER_CREATES.value
    changed = or_(created, rows.c.state.is_distinct_from(rows.c.undo_state))
    back = case((rows.c.undo == Verdict.PUT_BACK.value, 1), else_=0).label("back")
    # The id that the undo found: none means that the scheduler had not come to create it.
    done = (rows.c.undo.is_not(None), rows.c.new_task_instance_id.is_not(None), changed)
    found = session.execute(
        select(rows.c.task_id, rows.c.effect, back, func.count().label("n"))
        .where(rows.c.plan_id == plan_id, rows.c.effect.in_(SCHEDULER_EFFECTS), *done)
        .group_by(rows.c.task_id, rows.c.effect, back)
        .order_by(rows.c.task_id, rows.c.effect, back)
    )
    return [
        SchedulerChange(Effect(row.effect).shown, row.task_id, row.n, put_back=bool(row.back))
        for row in found
    ]


def list_not_restored(plan_id: UUID, session: Session, *, limit: int) -> list[UndoStay]:
    """Return the first task instances that the undo left as they were, in the state that it found them in."""
    found = session.execute(
        select(rows.c.run_id, rows.c.task_id, rows.c.map_index, rows.c.undo, rows.c.undo_state)
        .add_columns(map_label(rows, plan_id, session))
        .where(*_not_restored(plan_id))
        .order_by(rows.c.task_id, rows.c.run_id, rows.c.map_index)
        .limit(limit)
    )
    return [
        UndoStay(
            row.run_id,
            row.task_id,
            row.map_index,
            row.undo_state,
            Verdict(row.undo),
            row.rendered_map_index,
        )
        for row in found
    ]
