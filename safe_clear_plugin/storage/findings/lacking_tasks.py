"""Tasks without a task instance in a dag run, although its DAG version has the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, case, func, literal, null, select, union_all
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of
from safe_clear_plugin.core.effects import CREATING_EFFECTS
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.storage.findings.task_relations import among
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


@dataclass(frozen=True, slots=True)
class Tally:
    """The tasks of one shape that decide more than usual."""

    lacking: frozenset[str]
    """Without a task instance in some run."""
    removed: frozenset[str]
    """Tasks that are removed in some run, or will be."""


def tally(
    scope: PlanScope, wanted: Mapping[int, Collection[str]], changes: bool, session: Session
) -> dict[int, Tally]:
    """Return, by shape, the tasks that are lacking or removed in some run; most often none.

    A run has a task if it has the first, or only, map index of that task. Counting runs takes much longer, so
    runs are counted only for tasks that are expanded in some runs only. ``changes`` says whether the plan
    creates or removes task instances.
    """
    if not any(wanted.values()):
        return {}
    task_ids = {task_id for tasks in wanted.values() for task_id in tasks}
    single: Counter[tuple[int, str]] = Counter()
    first: Counter[tuple[int, str]] = Counter()
    removed = set()
    runs: dict[int, int] = {}
    for row in _rows(scope, task_ids, changes, session):
        key = (row.shape, row.task_id)
        if row.task_id is None:
            runs[row.shape] = row.single
            continue
        single[key] += row.single
        first[key] += row.first
        if row.removed:
            removed.add(key)
    doubtful = {
        (shape, task_id)
        for shape, tasks in wanted.items()
        for task_id in tasks
        if runs.get(shape) and runs[shape] not in (single[shape, task_id], first[shape, task_id])
    }
    lacking = _lacking(scope, doubtful, runs, changes, session)
    return {
        shape: Tally(
            frozenset(id_ for id_ in tasks if (shape, id_) in lacking),
            frozenset(id_ for id_ in tasks if (shape, id_) in removed),
        )
        for shape, tasks in wanted.items()
    }


def _rows(scope: PlanScope, task_ids: Collection[str], changes: bool, session: Session) -> Sequence[Any]:
    """Count the task instances by shape and task; without a task, the runs of the shape."""
    zero = literal(0)
    runs = select(plan_run.c.shape, null().label("task_id"), func.count().label("single"))
    runs = runs.add_columns(zero.label("first"), zero.label("removed"))
    parts = [runs.where(*scope.runs()).group_by(plan_run.c.shape)]
    for ti, source in _sources(scope, task_ids, changes):
        parts.append(_counted(ti, source, ti.c.state == "removed").where(*_conditions(scope, ti, task_ids)))
    if changes:
        rows = plan_task_instance
        none, removed = literal(0), rows.c.outcome == Outcome.REMOVED
        will_be = select(plan_run.c.shape, rows.c.task_id, none, none, func.count())
        will_be = will_be.select_from(_with_planned(rows)).where(*scope.runs(), removed)
        parts.append(will_be.group_by(plan_run.c.shape, rows.c.task_id))
    with hash_joins(session):
        return session.execute(union_all(*parts)).all()


def _counted(ti: FromClause, source: FromClause, removed: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            plan_run.c.shape,
            ti.c.task_id,
            func.count(case((ti.c.map_index == -1, 1))).label("single"),
            func.count(case((ti.c.map_index == 0, 1))).label("first"),
            func.count(case((removed, 1))).label("removed"),
        )
        .select_from(source)
        .group_by(plan_run.c.shape, ti.c.task_id)
    )


def _lacking(
    scope: PlanScope,
    doubtful: Collection[tuple[int, str]],
    runs: Mapping[int, int],
    changes: bool,
    session: Session,
) -> set[tuple[int, str]]:
    if not doubtful:
        return set()
    task_ids = {task_id for _, task_id in doubtful}
    parts = []
    for ti, source in _sources(scope, task_ids, changes):
        parts.append(
            select(plan_run.c.shape, ti.c.task_id, ti.c.run_id)
            .select_from(source)
            .where(*_conditions(scope, ti, task_ids))
        )
    found: Select[Any] = parts[0]
    there = (found.union_all(*parts[1:]) if parts[1:] else found).subquery("there")
    counted = select(there.c.shape, there.c.task_id, func.count(there.c.run_id.distinct()).label("n"))
    by_task = counted.group_by(there.c.shape, there.c.task_id)
    have = {(row.shape, row.task_id): row.n for row in session.execute(by_task)}
    return {key for key in doubtful if have.get(key, 0) < runs[key[0]]}


def _sources(
    scope: PlanScope, task_ids: Collection[str], changes: bool
) -> Iterator[tuple[FromClause, FromClause]]:
    """Yield the tables with the task instances that are there, or will be, joined with their runs."""
    yield task_instance, scope.task_instances(task_instance, task_ids)
    if changes:
        yield plan_task_instance, _with_planned(plan_task_instance)


def _with_planned(rows: FromClause) -> FromClause:
    return plan_run.join(rows, and_(rows.c.plan_id == plan_run.c.plan_id, rows.c.run_id == plan_run.c.run_id))


def _conditions(scope: PlanScope, ti: FromClause, task_ids: Collection[str]) -> Iterator[Any]:
    yield from scope.runs()
    if ti is task_instance:
        # Said of these too, or a hash join reads all of the DAG's.
        yield is_one_of(ti.c.run_id, select(plan_run.c.run_id).where(*scope.runs()))
    else:
        yield ti.c.effect.in_(CREATING_EFFECTS)
        yield among(ti.c.task_id, task_ids)
