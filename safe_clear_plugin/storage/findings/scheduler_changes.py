"""Task instances that the scheduler will create, restore or remove because of a clear, by task."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.storage.tables import plan_task_instance


@dataclass(frozen=True, slots=True)
class Changed:
    """Task instances of one task with one effect, in how many runs, and how many of them succeeded."""

    effect: Effect
    task_id: str
    count: int
    runs: int
    successes: int = 0


def count_changes(plan_id: UUID, session: Session) -> list[Changed]:
    """Count them by effect and task."""
    rows = plan_task_instance.c
    found = session.execute(
        select(
            rows.effect,
            rows.task_id,
            func.count().label("n"),
            func.count(rows.run_id.distinct()).label("runs"),
            func.count(case((rows.state == "success", 1))).label("successes"),
        )
        .where(rows.plan_id == plan_id, rows.effect.in_(SCHEDULER_EFFECTS))
        .group_by(rows.effect, rows.task_id)
        .order_by(rows.effect, rows.task_id)
    )
    return [Changed(Effect(row.effect), row.task_id, row.n, row.runs, row.successes) for row in found]
