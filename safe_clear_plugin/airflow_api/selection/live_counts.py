"""Counting what a selection covers without writing anything: few statements, each over indexed columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, FromClause, Subquery, and_, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.run_versions import uses_version
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.key_table import is_named, rows_of_taken
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, run_conditions
from safe_clear_plugin.airflow_api.selection.select_task_instances import (
    is_left_out,
    selected_rows,
    task_instance_conditions,
)
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_counts import Taken, Tally
from safe_clear_plugin.core.states import NO_STATE

ALL_MAP_INDEXES = -2
"""Stands for every map index of a task; -1 is Airflow's "not mapped"."""


@dataclass(frozen=True, slots=True)
class RunTally:
    """The number of dag runs that use one DAG version, and the ranges that they are in."""

    version: UUID
    scopes: frozenset[str]
    count: int


@dataclass(frozen=True)
class CoveredRuns:
    """The dag runs of one or more named ranges, each run with the DAG version that it will use."""

    selection: Selection
    scopes: Mapping[str, Scope]
    on_latest: bool
    latest: UUID

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the ranges."""
        return tuple(self.scopes)

    @cached_property
    def rows(self) -> Subquery:
        """A row per dag run: ``run_id``, ``version``, and for each range whether the run is in it."""
        conditions = {name: run_conditions(scope) for name, scope in self.scopes.items()}
        flags = (case((condition, 1), else_=0).label(f"in_{name}") for name, condition in conditions.items())
        return (
            select(dag_run.c.run_id, uses_version(self.on_latest, self.latest).label("version"), *flags)
            .where(or_(*conditions.values()))
            .subquery("covered")
        )

    def scopes_of(self, row: Any) -> frozenset[str]:
        """Return the ranges that a counted row is in."""
        return frozenset(name for name in self.names if getattr(row, f"in_{name}"))

    @property
    def flags(self) -> list[ColumnElement[Any]]:
        """The columns that say which ranges a run is in."""
        return [self.rows.c[f"in_{name}"] for name in self.names]


def cover_runs(scopes: Mapping[str, Scope], on_latest: bool, latest: UUID) -> CoveredRuns:
    """Select the dag runs of named ranges; the first one is that of the selection itself."""
    return CoveredRuns(next(iter(scopes.values())).selection, scopes, on_latest, latest)


def in_range(runs: CoveredRuns, name: str) -> CoveredRuns:
    """Narrow to the dag runs of one range."""
    return CoveredRuns(runs.selection, {name: runs.scopes[name]}, runs.on_latest, runs.latest)


def count_runs(
    runs: CoveredRuns, budget: statement_timeout.Budget, session: Session
) -> list[RunTally] | None:
    """Count the dag runs by DAG version and range; ``None`` when there is no time for it."""
    by = [runs.rows.c.version, *runs.flags]
    found = statement_timeout.read(select(*by, func.count().label("found")).group_by(*by), budget, session)
    if found is None:
        return None
    return [RunTally(row.version, runs.scopes_of(row), row.found) for row in found]


def count_task_instances(
    runs: CoveredRuns, taken: Mapping[str, Taken], budget: statement_timeout.Budget, session: Session
) -> list[Tally] | None:
    """Count the task instances of named sets of tasks, by task and state; ``None`` without time for it.

    The relatives of failed task instances are not counted.
    """
    tasks = _tasks_table(taken)
    rows = (
        select(
            *runs.flags,
            *(tasks.c[f"of_{name}"] for name in taken),
            task_instance.c.task_id,
            func.coalesce(task_instance.c.state, NO_STATE).label("state"),
        )
        .select_from(_selected_rows(runs, tasks))
        .where(*task_instance_conditions(task_instance, runs.selection))
        .subquery("instances")
    )
    query = select(*rows.c, func.count().label("found")).group_by(*rows.c)
    found = statement_timeout.read(query, budget, session)
    if found is None:
        return None
    return [
        Tally(
            row.task_id,
            row.state,
            runs.scopes_of(row),
            # Without a task regex, no task is looked up: all sets have it.
            frozenset(name for name in taken if getattr(row, f"of_{name}") != 0),
            row.found,
        )
        for row in found
    ]


def count_cleared_runs(
    runs: CoveredRuns, name: str, taken: Taken, budget: statement_timeout.Budget, session: Session
) -> int | None:
    """Count the dag runs of a range that anything is cleared of; ``None`` when there is no time for it."""
    ti, selection, tasks = task_instance, runs.selection, _tasks_table({name: taken})
    cleared = (
        select(runs.rows.c.run_id)
        .select_from(_selected_rows(runs, tasks))
        .where(
            runs.rows.c[f"in_{name}"] == 1,
            *task_instance_conditions(ti, selection),
            ~is_left_out(ti, selection),
        )
    )
    found = statement_timeout.read(
        select(func.count()).select_from(cleared.distinct().subquery("cleared")), budget, session
    )
    return None if found is None else int(found[0][0])


def first_and_last(scope: Scope, session: Session) -> tuple[Any, Any]:
    """Return the first and the last dag run of a range, or twice ``None``: run_id, run_type, date."""
    date = dag_run.c[scope.selection.date_field]
    moment = func.coalesce(date, dag_run.c.run_after)
    chosen = select(dag_run.c.run_id, dag_run.c.run_type, moment.label("date")).where(run_conditions(scope))
    # Where every run of the range has the date, its index gives both ends.
    order = date if scope.is_by_date else moment
    first = session.execute(chosen.order_by(order, dag_run.c.run_id).limit(1)).first()
    last = session.execute(chosen.order_by(order.desc(), dag_run.c.run_id.desc()).limit(1)).first()
    return first, last


def count_undated(scope: Scope, budget: statement_timeout.Budget, session: Session) -> int | None:
    """Count the runs without a logical date that the range would hold if it were one of ``run_after``."""
    selection = scope.selection
    if not scope.is_by_date or selection.date_field != "logical_date":
        return 0
    after = dag_run.c.run_after
    conditions = [dag_run.c.dag_id == selection.dag_id, dag_run.c.logical_date.is_(None)]
    if scope.date_from is not None:
        conditions.append(after >= scope.date_from)
    if scope.date_to is not None:
        conditions.append(after <= scope.date_to)
    for column, wanted in (
        (dag_run.c.run_type, selection.run_type),
        (dag_run.c.state, selection.run_state),
        (dag_run.c.partition_key, selection.partition_key),
    ):
        if wanted:
            conditions.append(is_named(column, wanted))
    found = statement_timeout.read(
        select(func.count()).select_from(dag_run).where(*conditions), budget, session
    )
    return None if found is None else int(found[0][0])


def last_success(selection: Selection, session: Session) -> tuple[datetime | None, datetime | None]:
    """Return the date of the last successful dag run, and that of the first one after it."""
    date = dag_run.c[selection.date_field]
    of_dag = (dag_run.c.dag_id == selection.dag_id, date.is_not(None))
    success = session.scalar(
        select(date).where(*of_dag, dag_run.c.state == "success").order_by(date.desc()).limit(1)
    )
    if success is None:
        return None, None
    after = session.scalar(select(date).where(*of_dag, date > success).order_by(date).limit(1))
    return success, after


def _tasks_table(taken: Mapping[str, Taken]) -> CTE:
    """Return the taken tasks by DAG version, with a column for each set that says whether it has the task."""
    keys = dict.fromkeys(
        (id_, *task) for one in taken.values() for id_, tasks in one.items() for task in tasks or ()
    )
    return rows_of_taken(
        (
            (
                id_,
                task_id,
                ALL_MAP_INDEXES if index is None else index,
                [(task_id, index) in (one.get(id_) or ()) for one in taken.values()],
            )
            for id_, task_id, index in keys
        ),
        [f"of_{name}" for name in taken],
        "taken",
    )


def _selected_rows(runs: CoveredRuns, tasks: CTE) -> FromClause:
    """Join the runs with their task instances as a plan does."""
    same_task = and_(
        tasks.c.version == runs.rows.c.version,
        tasks.c.task_id == task_instance.c.task_id,
        or_(tasks.c.map_index == ALL_MAP_INDEXES, tasks.c.map_index == task_instance.c.map_index),
    )
    return selected_rows(runs.selection, runs.rows, tasks, same_task)
