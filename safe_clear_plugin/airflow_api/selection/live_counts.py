"""Counting what a selection covers without writing anything: few statements, each over indexed columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Subquery,
    and_,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.run_versions import uses_version
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, run_conditions
from safe_clear_plugin.airflow_api.selection.select_task_instances import task_instance_conditions
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_counts import Taken, Tally
from safe_clear_plugin.core.states import NO_STATE, RUNNING_STATES


@dataclass(frozen=True, slots=True)
class RunTally:
    """How many dag runs use one DAG version, and in which ranges they are."""

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
    runs: CoveredRuns, indexes: Collection[int], budget: statement_timeout.Budget, session: Session
) -> list[Tally] | None:
    """Count the runs' task instances by DAG version, task and state; ``None`` when there is no time for it.

    States and excluded tasks are not looked at. ``indexes`` are counted apart from all other map indexes.
    """
    ti = task_instance
    index: ColumnElement[Any] = null()
    if indexes:
        index = case((ti.c.map_index.in_(sorted(indexes)), ti.c.map_index), else_=null())
    rows = (
        select(
            runs.rows.c.version,
            *runs.flags,
            ti.c.task_id,
            index.label("map_index"),
            func.coalesce(ti.c.state, NO_STATE).label("state"),
        )
        .select_from(runs.rows.join(ti, _of_run(runs)))
        .where(*task_instance_conditions(ti, _only_single_ones(runs.selection)))
        .subquery("instances")
    )
    query = select(*rows.c, func.count().label("found")).group_by(*rows.c)
    found = statement_timeout.read(query, budget, session)
    if found is None:
        return None
    return [
        Tally(row.version, row.task_id, row.map_index, row.state, runs.scopes_of(row), row.found)
        for row in found
    ]


def count_cleared_runs(
    runs: CoveredRuns, name: str, taken: Taken, budget: statement_timeout.Budget, session: Session
) -> int | None:
    """Count the dag runs of a range that anything is cleared of; ``None`` when there is no time for it."""
    ti, selection = task_instance, runs.selection
    cleared = [_of_run(runs), *task_instance_conditions(ti, selection), _is_selected(runs, taken)]
    if selection.running == "leave_out":
        cleared.append(func.coalesce(ti.c.state, NO_STATE).not_in(RUNNING_STATES))
    query = (
        select(func.count())
        .select_from(runs.rows)
        .where(runs.rows.c[f"in_{name}"] == 1, select(ti.c.id).where(*cleared).exists())
    )
    found = statement_timeout.read(query, budget, session)
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
            conditions.append(column.in_(wanted))
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


def _of_run(runs: CoveredRuns) -> ColumnElement[bool]:
    return and_(
        task_instance.c.dag_id == literal(runs.selection.dag_id), task_instance.c.run_id == runs.rows.c.run_id
    )


def _only_single_ones(selection: Selection) -> Selection:
    return Selection(selection.dag_id, exclude_task_instance=selection.exclude_task_instance)


def _is_selected(runs: CoveredRuns, taken: Taken) -> ColumnElement[bool]:
    return or_(
        false(),
        *(and_(runs.rows.c.version == version, _is_one_of(tasks)) for version, tasks in taken.items()),
    )


def _is_one_of(tasks: Iterable[tuple[str, int | None]] | None) -> ColumnElement[bool]:
    if tasks is None:
        return true()
    ti, pairs = task_instance, list(tasks)
    single = (
        and_(ti.c.task_id == name, ti.c.map_index == index) for name, index in pairs if index is not None
    )
    return or_(ti.c.task_id.in_([name for name, index in pairs if index is None]), *single)
