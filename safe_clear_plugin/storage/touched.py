"""Which tasks a plan touches."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import CLEARED_EFFECTS, Effect
from safe_clear_plugin.storage.models import plan_task_instance

CHANGED_EFFECTS: tuple[Effect, ...] = (*CLEARED_EFFECTS, "restore", "remove")
"""What happens to task instances that are there already; what is left out stays as it is."""


@dataclass(frozen=True, slots=True)
class TouchedTask:
    """A task of which the plan changes task instances, and clears some of these."""

    task_id: str
    changed: int
    cleared: int


def tasks(plan_id: UUID, session: Session) -> list[TouchedTask]:
    """Return the tasks that the plan touches, sorted: as many as the DAG has, however long the plan."""
    rows = plan_task_instance
    cleared = func.sum(case((rows.c.effect.in_(CLEARED_EFFECTS), 1), else_=0))
    found = session.execute(
        select(rows.c.task_id, func.count().label("changed"), cleared.label("cleared"))
        .where(rows.c.plan_id == plan_id, rows.c.effect.in_(CHANGED_EFFECTS))
        .group_by(rows.c.task_id)
        .order_by(rows.c.task_id)
    )
    return [TouchedTask(row.task_id, row.changed, row.cleared) for row in found]
