"""The rows in the runs of a selection, or in other runs, if the selection itself matches nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, run_conditions
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import FINISHED_RUN_STATES


@dataclass(frozen=True, slots=True)
class PresentTasks:
    """The task instances of one task in one state, in the runs of a selection."""

    task_id: str
    state: str | None
    count: int
    at_index: int
    """The number of them with the map index of the selection."""
    timed_out: int
    """The number of them that were skipped when their run timed out: that leaves no end date."""


def present_tasks(scope: Scope, task_ids: Collection[str] | None, session: Session) -> list[PresentTasks]:
    """Count the task instances of some tasks, or of all, in the runs of a selection."""
    ti, index = task_instance, scope.selection.map_index
    timed_out = and_(ti.c.state == "skipped", ti.c.end_date.is_(None), dag_run.c.state == "failed")
    at_index = literal(value=True) if index is None else ti.c.map_index == index
    query = (
        select(ti.c.task_id, ti.c.state, func.count(), _number(at_index), _number(timed_out))
        .select_from(_with_run())
        .where(run_conditions(scope))
        .group_by(ti.c.task_id, ti.c.state)
    )
    if task_ids is not None:
        query = query.where(is_named(ti.c.task_id, sorted(task_ids)))
    return [PresentTasks(*row) for row in session.execute(query)]


def count_runs(scope: Scope, session: Session, *conditions: ColumnElement[bool]) -> int:
    """Count the dag runs of a selection."""
    query = select(func.count()).select_from(dag_run).where(run_conditions(scope), *conditions)
    return session.scalar(query) or 0


def count_runs_to_create_in(scope: Scope, dag: Any, task_ids: Collection[str], session: Session) -> int:
    """Count the dag runs in which a clear on the latest DAG version creates tasks (``verify_integrity``).

    These have finished, and lie between the tasks' own first and last dates.
    """
    tasks = [dag.get_task(task_id) for task_id in task_ids]
    date = dag_run.c.logical_date
    starts = [date >= task.start_date for task in tasks if task.start_date is not None]
    ends = [date <= task.end_date for task in tasks if task.end_date is not None]
    due = or_(dag_run.c.run_type == "backfill", date.is_(None), and_(literal(value=True), *starts, *ends))
    return count_runs(scope, session, dag_run.c.state.in_(FINISHED_RUN_STATES), due)


def count_by_type_and_state(scope: Scope, session: Session) -> dict[tuple[str, str], int]:
    """Count the dag runs of a selection by run type and state, without its filters on these."""
    unfiltered: Selection = replace(scope.selection, run_type=(), run_state=(), exclude_run_id=())
    query: Select[Any] = (
        select(dag_run.c.run_type, dag_run.c.state, func.count().label("n"))
        .where(run_conditions(replace(scope, selection=unfiltered)))
        .group_by(dag_run.c.run_type, dag_run.c.state)
    )
    return {(row.run_type, row.state): row.n for row in session.execute(query)}


def dates_of_runs(selection: Selection, session: Session) -> tuple[int, datetime | None, datetime | None]:
    """Return how many dag runs of the DAG have the date of the selection, with the first and the last."""
    date = dag_run.c[selection.date_field]
    query = select(func.count(date), func.min(date), func.max(date)).where(
        dag_run.c.dag_id == selection.dag_id
    )
    number, first, last = session.execute(query).one()
    return number, first, last


def _with_run() -> Any:
    same = (dag_run.c.dag_id == task_instance.c.dag_id, dag_run.c.run_id == task_instance.c.run_id)
    return task_instance.join(dag_run, and_(*same))


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
