"""Conditions and joins that modules share on a plan's rows, their before-images and Airflow's rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, literal_column, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of, is_same
from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.core.waves import RunOrder
from safe_clear_plugin.storage.tables import plan, plan_run, plan_task_instance

RUN_ORDER = (plan_run.c.run_after, plan_run.c.dag_run_id)
"""The order in which dag runs are listed, and cleared unless waves name another."""


def same_task_instance(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Whether two rows are of the same task instance of one DAG."""
    return and_(*(one.c[name] == other.c[name] for name in ("run_id", "task_id", "map_index")))


def of_plan(table: FromClause, plan_id: UUID, run_ids: Sequence[str] | None = None) -> ColumnElement[bool]:
    """Whether a row belongs to the plan, and to these runs of it, if given."""
    if run_ids is None:
        return table.c.plan_id == plan_id
    return and_(table.c.plan_id == plan_id, is_named(table.c.run_id, run_ids))


def in_runs(
    table: FromClause, plan_id: UUID, run_ids: Sequence[str] | None = None, *, only_open: bool = False
) -> ColumnElement[bool]:
    """Whether a row belongs to these runs of the plan; to any of it, or only to open ones, if none are given.

    The condition is on each table that is joined with the plan's, so that no rows of other runs are read.
    """
    if run_ids is not None:
        return is_named(table.c.run_id, run_ids)
    runs = plan_run.alias("of_these")
    conditions = [of_plan(runs, plan_id), *([is_open_run(runs)] if only_open else [])]
    return is_one_of(table.c.run_id, select(runs.c.run_id).where(*conditions))


def is_planned_run(
    live: FromClause, plan_id: UUID, run_ids: Sequence[str] | None = None
) -> ColumnElement[bool]:
    """Whether one of Airflow's dag runs is of the plan, or one of these runs of it: for joins, as above."""
    runs = plan_run.alias("of_these")
    return is_one_of(live.c.id, select(runs.c.dag_run_id).where(of_plan(runs, plan_id, run_ids)))


def is_open_run(runs: FromClause = plan_run) -> ColumnElement[bool]:
    """Whether a run is cleared and not undone."""
    return and_(runs.c.applied_at.is_not(None), runs.c.undone_at.is_(None))


def is_cleared_run(runs: FromClause = plan_run) -> ColumnElement[bool]:
    """Whether the plan clears a task instance of the run: others are listed, and left as they are."""
    return runs.c.task_instances > 0


def cleared_runs(plan_id: UUID) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for the dag runs in which the plan clears a task instance."""
    return plan_run.c.plan_id == plan_id, is_cleared_run()


def run_date(runs: FromClause) -> ColumnElement[datetime]:
    """Return the date that a dag run goes by, which need not be in the order of ``run_after``."""
    return func.coalesce(runs.c.logical_date, runs.c.run_after)


RUN_DATE = run_date(plan_run)
"""The date of a dag run of a plan."""


def clearing_order(order: RunOrder | None, runs: FromClause = plan_run) -> list[ColumnElement[Any]]:
    """Return the order in which dag runs are cleared: by date where the waves of the plan name one."""
    if order is None:
        return [runs.c[column.name] for column in RUN_ORDER]
    columns = [run_date(runs), runs.c.dag_run_id]
    return [column.desc() for column in columns] if order is RunOrder.NEWEST else columns


def plan_tables(plan_id: UUID) -> PlanTables:
    """Return the tables of runs and task instances, for queries of the Airflow adapter on a plan."""
    return PlanTables(plan_id, plan_run, plan_task_instance)


def planned_with_run() -> FromClause:
    """Join each planned task instance with its planned dag run."""
    return plan_task_instance.join(
        plan_run,
        and_(
            plan_run.c.plan_id == plan_task_instance.c.plan_id,
            plan_run.c.run_id == plan_task_instance.c.run_id,
        ),
    )


def map_label(rows: FromClause, plan_id: UUID, session: Session) -> ColumnElement[str | None]:
    """Return the label that ``map_index_template`` makes of each row's map index, as Airflow's UI shows it.

    Airflow writes the label when a task instance runs, and a clear keeps it. The current label is read. It is
    empty if Airflow's tables are not known.
    """
    if not compatibility.has_known_tables(session):
        return literal_column("NULL").label("rendered_map_index")
    ti = task_instance.alias("labelled")
    dag_id = select(plan.c.dag_id).where(plan.c.id == plan_id).scalar_subquery()
    found = select(ti.c.rendered_map_index).where(
        ti.c.dag_id == dag_id,
        ti.c.run_id == rows.c.run_id,
        ti.c.task_id == rows.c.task_id,
        is_same(ti.c.map_index, rows.c.map_index),
    )
    # Only the index of the whole key has this order: without statistics PostgreSQL may take another one.
    found = found.order_by(ti.c.map_index).limit(1)
    return found.correlate(rows).scalar_subquery().label("rendered_map_index")
