"""Which tasks a plan is about, and how many task instances of each it touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.storage.tables import plan_task_instance

CHANGED_EFFECTS: tuple[Effect, ...] = (*CLEARED_EFFECTS, Effect.RESTORE, Effect.REMOVE)
"""What happens to task instances that are there already; what is left out stays as it is."""


@dataclass(frozen=True, slots=True)
class TouchedTask:
    """A task of which the plan has task instances, changes some of these, and clears some of those."""

    task_id: str
    planned: int
    changed: int
    cleared: int


def tasks(plan_id: UUID, session: Session) -> list[TouchedTask]:
    """Return the tasks of the plan, sorted: as many as the DAG has, however long the plan."""
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
