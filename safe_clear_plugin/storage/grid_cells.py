"""Counts for the cells of a plan's grid: by task, state and column, never row by row.

To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, and_, case, func, literal, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of, of_dag
from safe_clear_plugin.core.effects import COVERED_EFFECTS, Effect
from safe_clear_plugin.core.grid.model import Segment
from safe_clear_plugin.core.undo import Verdict
from safe_clear_plugin.storage.findings.task_relations import among, downstream_tasks, goes_stale
from safe_clear_plugin.storage.grid_queries import Window
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from safe_clear_plugin.storage.undo.verdicts import task_instance_verdicts

rows_ = plan_task_instance
ti = task_instance


@dataclass(frozen=True, slots=True)
class Counted:
    """Task instances that share a column, a task, and what happens to them."""

    column: object
    task_id: str
    segment: Segment
    why: str = ""


def planned_cells(
    plan_id: UUID, columns: CTE, task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count the plan's task instances as it shows them, of some tasks or of all."""
    # By the reason too, though a cell has one or none: PostgreSQL sorts all rows for a lowest and a highest.
    keys = (columns.c.key, rows_.c.task_id, rows_.c.effect, rows_.c.state, rows_.c.after_state, rows_.c.why)
    query = (
        select(*keys, func.count().label("n"))
        .select_from(columns.join(rows_, rows_.c.run_id == columns.c.run_id))
        .where(rows_.c.plan_id == plan_id, *_of_tasks(rows_, task_ids))
        .group_by(*keys)
    )
    whys: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for column, task_id, effect, state, after, why, n in session.execute(query):
        whys[column, task_id, Effect(effect).shown, state, after][why] += n
    return [
        Counted(
            column,
            task_id,
            Segment(effect, state, after, sum(found.values())),
            next(iter(found)) if len(found) == 1 else "",
        )
        for (column, task_id, effect, state, after), found in whys.items()
    ]


def cleared_cells(
    window: Window, columns: CTE, task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count the plan's task instances by the state that they are in now, those that it got to apart."""
    kind = case(
        (rows_.c.undo == "put_back", "put_back"),
        (and_(columns.c.applied_at.is_not(None), rows_.c.effect.in_(COVERED_EFFECTS)), "cleared"),
        else_="untouched",
    ).label("kind")
    source = columns.join(rows_, rows_.c.run_id == columns.c.run_id).join(
        ti,
        and_(
            of_dag(ti, window.dag_id),
            _in_columns(ti, columns),
            *(ti.c[name] == rows_.c[name] for name in ("run_id", "task_id", "map_index")),
        ),
    )
    single = (
        select(columns.c.key, rows_.c.task_id, kind, ti.c.state)
        .select_from(source)
        .where(rows_.c.plan_id == window.plan_id, *_of_tasks(rows_, task_ids))
        .subquery()
    )
    query = select(*single.c, func.count().label("n")).group_by(*single.c)
    return [
        Counted(row.key, row.task_id, Segment(row.kind, row.state, None, row.n))
        for row in session.execute(query)
    ]


def restorable_cells(
    window: Window, columns: CTE, task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count the task instances that an undo would put back now; subtract them from :func:`cleared_cells`."""
    found = task_instance_verdicts(window.plan_id, window.dag_id)
    keys = (columns.c.key, found.c.task_id, found.c.now)
    query = (
        select(*keys, func.count().label("n"))
        .select_from(columns.join(found, found.c.run_id == columns.c.run_id))
        .where(
            found.c.verdict == Verdict.PUT_BACK.value,
            found.c.effect.in_(COVERED_EFFECTS),
            found.c.id_now.is_not(None),
            *_of_tasks(found, task_ids),
        )
        .group_by(*keys)
    )
    counted = []
    for row in session.execute(query):
        counted.append(Counted(row.key, row.task_id, Segment("comes_back", row.now, None, row.n)))
        counted.append(Counted(row.key, row.task_id, Segment("cleared", row.now, None, -row.n)))
    return counted


def other_cells(
    window: Window, columns: CTE, task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count the task instances of the plan's runs that are not in the plan, by the state they are in now."""
    in_plan = and_(
        rows_.c.plan_id == window.plan_id,
        *(rows_.c[name] == ti.c[name] for name in ("run_id", "task_id", "map_index")),
    )
    source = columns.join(
        ti, and_(of_dag(ti, window.dag_id), _in_columns(ti, columns), ti.c.run_id == columns.c.run_id)
    ).outerjoin(rows_, in_plan)
    single = (
        select(columns.c.key, ti.c.task_id, literal("untouched").label("kind"), ti.c.state)
        .select_from(source)
        .where(rows_.c.plan_id.is_(None), *_of_tasks(ti, task_ids))
        .subquery()
    )
    return _grouped(single, session)


def stale_cells(
    window: Window, columns: CTE, task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count those of them that go stale; taken off what :func:`other_cells` counts."""
    source = columns.join(
        plan_run, and_(plan_run.c.plan_id == window.plan_id, plan_run.c.run_id == columns.c.run_id)
    ).join(ti, and_(of_dag(ti, window.dag_id), _in_columns(ti, columns), ti.c.run_id == plan_run.c.run_id))
    downstream = among(ti.c.task_id, downstream_tasks(window.plan_id, session))
    query = (
        select(columns.c.key, ti.c.task_id, ti.c.state, func.count().label("n"))
        .select_from(source)
        .where(downstream, goes_stale(ti, window.plan_id), *_of_tasks(ti, task_ids))
        .group_by(columns.c.key, ti.c.task_id, ti.c.state)
    )
    found = []
    for row in session.execute(query):
        found.append(Counted(row.key, row.task_id, Segment("stale", row.state, None, row.n)))
        found.append(Counted(row.key, row.task_id, Segment("untouched", row.state, None, -row.n)))
    return found


def neighbour_cells(
    window: Window, run_ids: Sequence[str], task_ids: Collection[str] | None, session: Session
) -> list[Counted]:
    """Count the task instances of runs outside the plan, by run."""
    single = (
        select(ti.c.run_id.label("key"), ti.c.task_id, literal("untouched").label("kind"), ti.c.state)
        .where(of_dag(ti, window.dag_id), ti.c.run_id.in_(run_ids), *_of_tasks(ti, task_ids))
        .subquery()
    )
    return _grouped(single, session)


def _grouped(single: Any, session: Session) -> list[Counted]:
    query = select(*single.c, func.count().label("n")).group_by(*single.c)
    return [
        Counted(row.key, row.task_id, Segment(row.kind, row.state, None, row.n))
        for row in session.execute(query)
    ]


def _in_columns(table: Any, columns: CTE) -> ColumnElement[bool]:
    """Whether a row is of the runs of the columns: so that only these are read where they are joined."""
    return is_one_of(table.c.run_id, select(columns.c.run_id))


def _of_tasks(table: Any, task_ids: Collection[str] | None) -> Iterable[ColumnElement[bool]]:
    if task_ids is not None:
        yield table.c.task_id.in_(list(task_ids))
