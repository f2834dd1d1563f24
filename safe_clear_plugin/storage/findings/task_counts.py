"""The tasks of a plan, with the number of task instances that it touches of each."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS, CREATING_EFFECTS, PLANNED_EFFECTS, Effect
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.storage.tables import plan_task_instance

CHANGED_EFFECTS: tuple[Effect, ...] = tuple(
    effect for effect in PLANNED_EFFECTS if effect not in CREATING_EFFECTS
)
"""Effects on existing task instances, without those that are left out."""


def tasks(plan_id: UUID, session: Session) -> list[TouchedTask]:
    """Return the tasks of the plan, sorted by id."""
    rows = plan_task_instance
    found = session.execute(
        select(
            rows.c.task_id,
            func.count().label("planned"),
            _how_many(CHANGED_EFFECTS).label("changed"),
            _how_many(CLEARED_EFFECTS).label("cleared"),
        )
        .where(rows.c.plan_id == plan_id)
        .group_by(rows.c.task_id)
        .order_by(rows.c.task_id)
    )
    return [TouchedTask(row.task_id, row.planned, row.changed, row.cleared) for row in found]


def _how_many(effects: Sequence[Effect]) -> ColumnElement[int]:
    return func.count(case((plan_task_instance.c.effect.in_(effects), 1)))
