"""Failures in a time range, by DAG: aggregated by the database from its index on states alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from airflow.models.dag import DagModel, DagTag
from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.selection.failed_task_instances import has_failed
from safe_clear_plugin.core.failed_dags import DAYS, WEEK, FailedDag, FailedFilter, FailedTask

DAY = WEEK / DAYS
dags = DagModel.__table__
tags = DagTag.__table__


def failed_dags(wanted: FailedFilter, session: Session) -> list[FailedDag]:
    """Return the DAGs, those of any user, the latest failure first; without tags and first tasks."""
    runs = {row.dag_id: row for row in session.execute(_failed_runs(wanted))}
    found = [
        _with_task_instances(row, runs.pop(row.dag_id, None))
        for row in session.execute(_failed_instances(wanted))
    ]
    found += [_of_dag(row, failed_dag_runs=row.failed_dag_runs) for row in runs.values()]
    return sorted(found, key=lambda dag: (-dag.last.timestamp(), dag.dag_id))


def _failed_instances(wanted: FailedFilter) -> Select[Any]:
    """Select a row per DAG with a task instance that failed in the time."""
    runs = _by_run(wanted)
    week = [
        func.sum(case((_is_between(runs.c.week_last, wanted, number), 1), else_=0)).label(f"day_{number}")
        for number in range(DAYS)
    ]
    by_dag = (
        select(
            runs.c.dag_id,
            func.sum(runs.c.failed).label("failed"),
            func.sum(runs.c.upstream_failed).label("upstream_failed"),
            func.count(runs.c.last).label("dag_runs"),
            func.coalesce(func.min(runs.c.since_failed), func.min(runs.c.since)).label("since"),
            func.max(runs.c.last).label("last"),
            *week,
        )
        .group_by(runs.c.dag_id)
        .having(func.count(runs.c.last) > 0)
        .subquery("by_dag")
    )
    return _with_dag(by_dag, wanted)


def _by_run(wanted: FailedFilter) -> Any:
    """Group what failed in the time or in the week by dag run: the look at the task instances themselves."""
    ti = task_instance
    in_time = and_(ti.c.end_date >= wanted.since, ti.c.end_date <= wanted.until)
    failed, ended = ti.c.state == "failed", ti.c.end_date
    in_week = ended > wanted.until - WEEK
    earliest = min(wanted.since, wanted.until - WEEK)
    return (
        select(
            ti.c.dag_id,
            ti.c.run_id,
            func.sum(case((and_(in_time, failed), 1), else_=0)).label("failed"),
            func.sum(case((and_(in_time, ~failed), 1), else_=0)).label("upstream_failed"),
            func.min(case((and_(in_time, failed), ended))).label("since_failed"),
            func.min(case((in_time, ended))).label("since"),
            func.max(case((in_time, ended))).label("last"),
            func.max(case((in_week, ended))).label("week_last"),
        )
        .where(has_failed(ti, earliest, wanted.until))
        .group_by(ti.c.dag_id, ti.c.run_id)
        .subquery("by_run")
    )


def _is_between(moment: ColumnElement[Any], wanted: FailedFilter, number: int) -> ColumnElement[bool]:
    end = wanted.until - DAY * (DAYS - 1 - number)
    return and_(moment > end - DAY, moment <= end)


def _failed_runs(wanted: FailedFilter) -> Select[Any]:
    """Select a row per DAG with a dag run that failed in the time."""
    by_dag = (
        select(
            dag_run.c.dag_id,
            func.count().label("failed_dag_runs"),
            func.min(dag_run.c.end_date).label("since"),
            func.max(dag_run.c.end_date).label("last"),
        )
        # DAG by DAG there is an index for it, if the database thinks that it pays.
        .join(dags, dags.c.dag_id == dag_run.c.dag_id)
        .where(
            dag_run.c.state == "failed",
            dag_run.c.end_date >= wanted.since,
            dag_run.c.end_date <= wanted.until,
        )
        .group_by(dag_run.c.dag_id)
        .subquery("by_dag")
    )
    return _with_dag(by_dag, wanted)


def _with_dag(by_dag: Any, wanted: FailedFilter) -> Select[Any]:
    """Join with Airflow's list of DAGs, and narrow by it: what is left of a deleted DAG is nobody's."""
    query = select(dags.c.is_paused, dags.c.is_stale, dags.c.owners, by_dag).join(
        dags, dags.c.dag_id == by_dag.c.dag_id
    )
    if wanted.tags:
        tagged = select(tags.c.dag_id).where(tags.c.name.in_(wanted.tags))
        query = query.where(dags.c.dag_id.in_(tagged))
    return query


def _with_task_instances(row: Any, runs: Any) -> FailedDag:
    days = row[-DAYS:]
    return _of_dag(
        row,
        failed=int(row.failed),
        upstream_failed=int(row.upstream_failed),
        dag_runs=row.dag_runs,
        failed_dag_runs=runs.failed_dag_runs if runs is not None else 0,
        by_day=tuple(map(int, days)),
    )


def _of_dag(row: Any, **more: Any) -> FailedDag:
    return FailedDag(
        row.dag_id,
        bool(row.is_paused),
        bool(row.is_stale),
        _owners(row.owners or ""),
        since=row.since,
        last=row.last,
        **more,
    )


@lru_cache(maxsize=1_000)
def _owners(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))


def tags_of(dag_ids: Sequence[str], session: Session) -> Mapping[str, tuple[str, ...]]:
    """Return the tags of each of the DAGs, sorted."""
    found: dict[str, tuple[str, ...]] = {}
    query = select(tags.c.dag_id, tags.c.name).where(tags.c.dag_id.in_(dag_ids)).order_by(tags.c.name)
    for row in session.execute(query):
        found[row.dag_id] = (*found.get(row.dag_id, ()), row.name)
    return found


def first_failed_tasks(
    dag_ids: Iterable[str], wanted: FailedFilter, session: Session
) -> Mapping[str, FailedTask]:
    """Return of each DAG the task instance that failed first in the time.

    A failed one comes before those that are upstream_failed because of it: a clear leaves the end date that
    these had before.
    """
    ti = task_instance
    order = (case((ti.c.state == "failed", 0), else_=1), ti.c.end_date, ti.c.task_id, ti.c.map_index)
    place = func.row_number().over(partition_by=ti.c.dag_id, order_by=order)
    names = ("dag_id", "run_id", "task_id", "map_index", "state", "end_date", "rendered_map_index")
    ranked = (
        select(*(ti.c[name] for name in names), place.label("place"))
        .where(ti.c.dag_id.in_(list(dag_ids)), has_failed(ti, wanted.since, wanted.until))
        .subquery("ranked")
    )
    return {
        row.dag_id: FailedTask(
            row.task_id, row.map_index, row.run_id, row.state, row.end_date, row.rendered_map_index
        )
        for row in session.execute(select(ranked).where(ranked.c.place == 1))
    }
