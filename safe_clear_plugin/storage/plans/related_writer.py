"""Writes the setups, teardowns and relatives of single task instances of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.airflow_api.selection.select_related import (
    PlanRows,
    companions_select,
    relatives_select,
)
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.plans.plan_writer import insert_chosen
from safe_clear_plugin.storage.tables import (
    ALL_MAP_INDEXES,
    plan_relation,
    plan_run,
    plan_task,
    plan_task_instance,
)


@dataclass(slots=True)
class ClearedTasks:
    """The tasks of one shape whose task instances the plan clears."""

    task_ids: set[str] = field(default_factory=set)
    everywhere: set[str] = field(default_factory=set)
    """Those that are cleared, not mapped, in each run in which anything is."""


def cleared_tasks(plan_id: UUID, session: Session) -> dict[int, ClearedTasks]:
    """Return by shape the tasks of what is written so far."""
    rows = plan_task_instance
    of_run = and_(plan_run.c.plan_id == rows.c.plan_id, plan_run.c.run_id == rows.c.run_id)
    of_plan = (rows.c.plan_id == plan_id, rows.c.effect.in_(CLEARED_EFFECTS))
    of_shape = select(plan_run.c.shape, func.count(rows.c.run_id.distinct()).label("runs"))
    by_shape = of_shape.join(plan_run, of_run).where(*of_plan).group_by(plan_run.c.shape)
    runs = {row.shape: row.runs for row in session.execute(by_shape.select_from(rows))}
    unmapped = func.count(case((rows.c.map_index < 0, 1)))
    query = (
        select(plan_run.c.shape, rows.c.task_id, unmapped.label("unmapped"))
        .select_from(rows)
        .join(plan_run, of_run)
        .where(*of_plan)
        .group_by(plan_run.c.shape, rows.c.task_id)
    )
    found: dict[int, ClearedTasks] = {}
    for row in session.execute(query):
        tasks = found.setdefault(row.shape, ClearedTasks())
        tasks.task_ids.add(row.task_id)
        if row.unmapped == runs[row.shape]:
            tasks.everywhere.add(row.task_id)
    return found


def insert_companions(
    plan_id: UUID, selection: Selection, latest: UUID, session: Session, *, known: bool
) -> int:
    """Write a row per setup and teardown of what is written, in any state; returns how many.

    The relations say which tasks these serve. ``known`` says whether PostgreSQL has statistics of the rows.
    """
    chosen = companions_select(selection, latest, _rows(plan_id, known=known))
    with hash_joins(session):
        return insert_chosen(plan_task_instance, chosen, session)


def insert_relatives(
    plan_id: UUID, selection: Selection, latest: UUID, session: Session, *, known: bool
) -> int:
    """Write a row per task instance upstream or downstream of what is written; as above."""
    chosen = relatives_select(selection, latest, _rows(plan_id, known=known))
    with hash_joins(session):
        return insert_chosen(plan_task_instance, chosen, session)


def _rows(plan_id: UUID, *, known: bool) -> PlanRows:
    return PlanRows(
        plan_id, plan_run, plan_task, plan_relation, plan_task_instance, ALL_MAP_INDEXES, known=known
    )
