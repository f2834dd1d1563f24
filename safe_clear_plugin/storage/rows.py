"""Conditions and joins that modules share on a plan's rows, their before-images and Airflow's rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func

from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

RUN_ORDER = (plan_run.c.run_after, plan_run.c.dag_run_id)
"""The order in which dag runs are cleared."""


def same_task_instance(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Whether two rows are of the same task instance of one DAG."""
    return and_(*(one.c[name] == other.c[name] for name in ("run_id", "task_id", "map_index")))


def of_plan(table: FromClause, plan_id: UUID, run_ids: Sequence[str] | None = None) -> ColumnElement[bool]:
    """Whether a row belongs to the plan, and to these runs of it, if given."""
    if run_ids is None:
        return table.c.plan_id == plan_id
    return and_(table.c.plan_id == plan_id, table.c.run_id.in_(run_ids))


def is_cleared_run(runs: FromClause = plan_run) -> ColumnElement[bool]:
    """Whether the plan clears a task instance of the run: others are listed, and left as they are."""
    return runs.c.task_instances > 0


def run_date(runs: FromClause) -> ColumnElement[datetime]:
    """Return the date that a dag run goes by, which need not be in the order of ``run_after``."""
    return func.coalesce(runs.c.logical_date, runs.c.run_after)


RUN_DATE = run_date(plan_run)
"""The date of a dag run of a plan."""


def planned_with_run() -> FromClause:
    """Join each planned task instance with its planned dag run."""
    return plan_task_instance.join(
        plan_run,
        and_(
            plan_run.c.plan_id == plan_task_instance.c.plan_id,
            plan_run.c.run_id == plan_task_instance.c.run_id,
        ),
    )
