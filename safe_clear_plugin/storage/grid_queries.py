"""The dag runs of a plan's grid: their range of dates, their number, and the column of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_one_of
from safe_clear_plugin.storage.rows import RUN_DATE
from safe_clear_plugin.storage.tables import plan_run


@dataclass(frozen=True, slots=True)
class Extent:
    """The dates from the first to the last run of a plan, or of a window of it, and how many there are."""

    runs: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The runs of a plan from ``start`` to before ``end``; ``None`` is no bound."""

    plan_id: UUID
    dag_id: str
    start: datetime | None = None
    end: datetime | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it has no bound."""
        return self.start is None and self.end is None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return SQL conditions on the plan's dag runs."""
        found = [plan_run.c.plan_id == self.plan_id]
        if self.start is not None:
            found.append(self.start <= RUN_DATE)
        if self.end is not None:
            found.append(self.end > RUN_DATE)
        return found


def extent(window: Window, session: Session) -> Extent | None:
    """Return how far the runs reach; ``None`` if there are none."""
    row = session.execute(
        select(
            func.count().label("n"), func.min(RUN_DATE).label("first"), func.max(RUN_DATE).label("last")
        ).where(*window.conditions())
    ).one()
    return Extent(row.n, row.first, row.last) if row.n else None


def versions_by_use(plan_id: UUID, session: Session) -> list[UUID]:
    """Return the DAG versions that the runs use, the most used first."""
    used = plan_run.c.uses_dag_version_id
    query = select(used).where(plan_run.c.plan_id == plan_id).group_by(used)
    return list(session.scalars(query.order_by(func.count().desc(), used)))


def runs(window: Window, session: Session, *, offset: int = 0, limit: int) -> list[Row[Any]]:
    """Return the plan's runs of the window by the dates that they go by."""
    query = select(plan_run.c.run_id, RUN_DATE.label("date"), plan_run.c.logical_date)
    query = query.where(*window.conditions()).order_by(RUN_DATE, plan_run.c.dag_run_id)
    return list(session.execute(query.offset(offset).limit(limit)))


def neighbour_runs(
    window: Window, first: datetime, last: datetime, session: Session, *, each: int
) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """Return the DAG's runs outside the plan that come right before and right after it, in order."""
    queries = [*_nearest(window, first, each, earlier=True), *_nearest(window, last, each, earlier=False)]
    found = list(session.execute(union_all(*queries)))
    before = sorted((row for row in found if row.earlier), key=lambda row: row.date)
    after = sorted((row for row in found if not row.earlier), key=lambda row: row.date)
    return before[-each:], after[:each]


def _nearest(window: Window, edge: datetime, each: int, *, earlier: bool) -> Iterator[Select[Any]]:
    """Select the dated runs that come right before or after a moment, and then those without a logical date.

    They are apart so that an index leads to each.
    """
    logical, due = dag_run.c.logical_date, dag_run.c.run_after
    for date, kind in ((logical, logical.is_not(None)), (due, logical.is_(None))):
        beyond = date < edge if earlier else date > edge
        query = _other_runs(window).where(kind, beyond).order_by(date.desc() if earlier else date)
        nearest = query.limit(each).subquery()
        yield select(nearest, literal(earlier, Boolean).label("earlier"))


def runs_between(
    window: Window, first: datetime, last: datetime, session: Session, *, limit: int
) -> list[Row[Any]]:
    """Return the DAG's runs outside the plan that lie among its runs, by date."""
    logical, due = dag_run.c.logical_date, dag_run.c.run_after
    among = or_(logical.between(first, last), and_(logical.is_(None), due.between(first, last)))
    return list(session.execute(_other_runs(window).where(among).order_by("date", dag_run.c.id).limit(limit)))


def _other_runs(window: Window) -> Select[Any]:
    planned = exists_row(
        plan_run, plan_run.c.plan_id == window.plan_id, plan_run.c.run_id == dag_run.c.run_id
    )
    date = func.coalesce(dag_run.c.logical_date, dag_run.c.run_after).label("date")
    return select(dag_run.c.run_id, date, dag_run.c.logical_date).where(
        dag_run.c.dag_id == window.dag_id, ~planned
    )


def run_states(window: Window, run_ids: Sequence[str], session: Session) -> list[Row[Any]]:
    """Return the states of some runs of the DAG."""
    query = select(dag_run.c.run_id, dag_run.c.state)
    return list(
        session.execute(query.where(dag_run.c.dag_id == window.dag_id, dag_run.c.run_id.in_(run_ids)))
    )


def by_run(window: Window, run_ids: Sequence[str]) -> CTE:
    """Return the runs, each its own column."""
    return _columns(plan_run.c.run_id, [*window.conditions(), plan_run.c.run_id.in_(run_ids)])


def by_bin(window: Window, starts: Sequence[datetime]) -> CTE:
    """Return the runs of the window, a column for each of the spans of time that begin at ``starts``."""
    return _columns(_bin_of(RUN_DATE, starts, 0), window.conditions())


def _columns(column: ColumnElement[Any], conditions: Iterable[ColumnElement[bool]]) -> CTE:
    return (
        select(
            plan_run.c.run_id,
            column.label("key"),
            plan_run.c.uses_dag_version_id,
            plan_run.c.applied_at,
            plan_run.c.dag_run_id,
            plan_run.c.state,
            plan_run.c.after_state,
            plan_run.c.task_instances,
        )
        .where(*conditions)
        .cte("runs")
    )


def _bin_of(date: ColumnElement[Any], starts: Sequence[datetime], offset: int) -> ColumnElement[Any]:
    """Return the number of the bin that a date is in: halved again and again, since it is asked per row."""
    if len(starts) == 1:
        return literal(offset)
    half = len(starts) // 2
    return case(
        (date < starts[half], _bin_of(date, starts[:half], offset)),
        else_=_bin_of(date, starts[half:], offset + half),
    )


def bin_runs(columns: CTE, session: Session, *, live: bool) -> list[Row[Any]]:
    """Count the runs of each column by state before and after; with ``live``, by their state now.

    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    source: Any = columns
    state: ColumnElement[Any] = columns.c.state
    if live:
        of_columns = is_one_of(dag_run.c.id, select(columns.c.dag_run_id))
        source = columns.join(dag_run, and_(dag_run.c.id == columns.c.dag_run_id, of_columns))
        state = dag_run.c.state
    single = (
        select(
            columns.c.key,
            state.label("state"),
            columns.c.after_state,
            columns.c.applied_at.is_not(None).label("applied"),
            (columns.c.task_instances > 0).label("taken"),
        )
        .select_from(source)
        .subquery()
    )
    return list(session.execute(select(*single.c, func.count().label("n")).group_by(*single.c)))
