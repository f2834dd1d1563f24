"""The task instances of a plan as lists: sorted for a table, streamed for a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of
from safe_clear_plugin.core.plan_filters import EVERY_ROW, RowFilter
from safe_clear_plugin.storage.plans.filters import row_conditions
from safe_clear_plugin.storage.rows import RUN_DATE, RUN_ORDER, map_label, planned_with_run
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
FETCH = 1_000


SORTS: dict[str, ColumnElement[Any]] = {
    "run": RUN_DATE,
    "task": rows_.c.task_id,
    "tries": func.coalesce(rows_.c.try_number, -1),
    "state": func.coalesce(rows_.c.state, ""),
    "effect": rows_.c.effect,
    "outcome": func.coalesce(rows_.c.outcome, ""),
    "why": rows_.c.why,
}
"""The columns that a list can be sorted by; a name with ``-`` before it is the other way round."""


def rows(
    plan_id: UUID, wanted: RowFilter, sort: str, session: Session, *, offset: int = 0, limit: int
) -> list[Row[Any]]:
    """Return a page of the plan's task instances; without an order, as they are cleared, then by task."""
    query = _query(plan_id, wanted, sort, session)
    if sort.removeprefix("-") in ("", "run") and wanted == EVERY_ROW:
        first = _first_runs(plan_id, sort, offset + limit)
        query = query.where(is_one_of(plan_run.c.run_id, first), is_one_of(rows_.c.run_id, first))
    with hash_joins(session):
        return list(session.execute(query.offset(offset).limit(limit)))


def _first_runs(plan_id: UUID, sort: str, count: int) -> Select[tuple[str]]:
    """Select the runs that hold the first ``count`` rows: each has one at least.

    So that not all rows of a large plan are sorted for a page of it.
    """
    query = select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id)
    return query.order_by(*_run_order(sort)).limit(count)


def stream(
    plan_id: UUID, wanted: RowFilter, sort: str, session: Session, *, limit: int
) -> Iterator[Row[Any]]:
    """Yield the plan's task instances, some at a time from the database."""
    query = _query(plan_id, wanted, sort, session).limit(limit)
    with hash_joins(session):
        yield from session.execute(query.execution_options(yield_per=FETCH))


def _query(plan_id: UUID, wanted: RowFilter, sort: str, session: Session) -> Select[Any]:
    return (
        select(
            rows_,
            plan_run.c.logical_date,
            plan_run.c.run_after,
            plan_run.c.run_type,
            plan_run.c.partition_key,
            plan_run.c.partition_date,
            plan_run.c.state.label("run_state"),
            plan_run.c.after_state.label("run_after_state"),
            map_label(rows_, plan_id, session),
        )
        .select_from(planned_with_run())
        .where(plan_run.c.plan_id == plan_id, rows_.c.plan_id == plan_id, *row_conditions(wanted))
        .order_by(*_order(sort))
    )


def _order(sort: str) -> Iterator[ColumnElement[Any]]:
    yield from _run_order(sort)
    yield rows_.c.task_id
    yield rows_.c.map_index


def _run_order(sort: str) -> Iterator[ColumnElement[Any]]:
    if sort:
        column = SORTS[sort.removeprefix("-")]
        yield column.desc() if sort.startswith("-") else column.asc()
    yield from RUN_ORDER
