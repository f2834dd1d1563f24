"""The work that a plan gives the scheduler to start, and the limits on active dag runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.configuration import conf
from airflow.models.backfill import Backfill
from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of
from safe_clear_plugin.airflow_api.platform.key_table import by_value, in_parts
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.core.states import UNFINISHED_RUN_STATES


@dataclass(frozen=True, slots=True)
class TaskCount:
    """The number of cleared task instances of a task of a DAG version."""

    version: UUID
    task_id: str
    runs: int
    instances: int
    widest: int
    """Most task instances in one run."""
    never_start: int = 0
    """Cleared task instances that are not counted above, since they never start."""
    never_end: int = 0
    """Those counted above that start and wait forever."""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Dag runs that count against the same ``max_active_runs``: a backfill's, or all others of the DAG."""

    backfill_id: int | None
    limit: int | None
    """Only of a backfill; the others' is the DAG's."""
    paused: bool
    to_queue: int
    """Runs of the plan that go to queued, or are queued already."""
    running: int
    """Runs of the plan that are running and stay so."""
    others_running: int
    others_queued: int


def task_counts(plan: PlanTables, session: Session) -> list[TaskCount]:
    """Count the cleared task instances by DAG version and task, also where none of them starts."""
    with hash_joins(session):
        return _task_counts(plan, session)


def _task_counts(plan: PlanTables, session: Session) -> list[TaskCount]:
    runs, rows = plan.runs, plan.task_instances
    task = (runs.c.uses_dag_version_id, rows.c.task_id)
    counts = plan.counts()
    to_run = select(*task, *counts).select_from(plan.joined()).where(*plan.is_to_run())
    mapped = list(
        session.scalars(
            select(rows.c.task_id).where(rows.c.plan_id == plan.plan_id, rows.c.map_index >= 0).distinct()
        )
    )
    # Only mapped tasks can have several in a run: to count run by run takes three times as long.
    found = [
        TaskCount(row.uses_dag_version_id, row.task_id, row.n, row.n, 1, row.never_start, row.never_end)
        for row in session.execute(to_run.where(rows.c.task_id.not_in(mapped)).group_by(*task))
    ]
    if mapped:
        in_run = to_run.where(rows.c.task_id.in_(mapped)).group_by(*task, rows.c.run_id).subquery().c
        result = session.execute(
            select(
                in_run.uses_dag_version_id,
                in_run.task_id,
                func.count(case((in_run.n > 0, 1))).label("runs"),
                *(func.sum(in_run[name]).label(name) for name in ("n", "never_start", "never_end")),
                func.max(in_run.n).label("widest"),
            ).group_by(in_run.uses_dag_version_id, in_run.task_id)
        )
        found += [
            TaskCount(
                row.uses_dag_version_id,
                row.task_id,
                row.runs,
                int(row.n),
                row.widest,
                int(row.never_start),
                int(row.never_end),
            )
            for row in result
        ]
    return sorted(found, key=lambda count: count.task_id)


def runs_by_version(plan: PlanTables, session: Session) -> dict[UUID, int]:
    """Count the runs that the scheduler will handle by the DAG version that they use."""
    runs = plan.runs
    result = session.execute(
        select(runs.c.uses_dag_version_id, func.count().label("n"))
        .where(*plan.is_unfinished_run(), plan.is_looked_at())
        .group_by(runs.c.uses_dag_version_id)
    )
    return {row.uses_dag_version_id: row.n for row in result}


def run_groups(plan: PlanTables, dag_id: str, session: Session) -> list[RunGroup]:
    """Count the plan's runs, and the DAG's other active ones, as ``_start_queued_dagruns`` counts them.

    It counts running ones by DAG and backfill, and reads ``max_active_runs`` from the backfill.
    ``get_queued_dag_runs_to_set_running`` ignores a paused backfill.
    """
    own = _own_runs(plan, session)
    active = _active_runs(dag_id, session)
    backfills = _backfills([backfill_id for backfill_id in own if backfill_id is not None], session)
    groups = []
    for backfill_id, row in own.items():
        limit, paused = backfills.get(backfill_id, (None, False))
        groups.append(
            RunGroup(
                backfill_id=backfill_id,
                limit=limit,
                paused=paused,
                to_queue=int(row.to_queue),
                running=int(row.running),
                others_running=active.get((backfill_id, "running"), 0) - int(row.running),
                others_queued=active.get((backfill_id, "queued"), 0) - int(row.were_queued),
            )
        )
    return groups


def _own_runs(plan: PlanTables, session: Session) -> dict[int | None, Any]:
    runs, of_plan = plan.runs, plan.runs.alias("of_plan")
    ids = select(of_plan.c.dag_run_id).where(of_plan.c.plan_id == plan.plan_id)
    query = (
        select(
            dag_run.c.backfill_id,
            func.sum(case((runs.c.after_state == "queued", 1), else_=0)).label("to_queue"),
            func.sum(case((runs.c.after_state == "running", 1), else_=0)).label("running"),
            func.sum(case((runs.c.state == "queued", 1), else_=0)).label("were_queued"),
        )
        .select_from(runs.join(dag_run, dag_run.c.id == runs.c.dag_run_id))
        .where(*plan.is_unfinished_run(), plan.is_looked_at(), is_one_of(dag_run.c.id, ids))
        .group_by(dag_run.c.backfill_id)
        .order_by(dag_run.c.backfill_id)
    )
    with hash_joins(session):
        result = session.execute(query).all()
    return {row.backfill_id: row for row in result}


def _active_runs(dag_id: str, session: Session) -> dict[tuple[int | None, str], int]:
    result = session.execute(
        select(dag_run.c.backfill_id, dag_run.c.state, func.count().label("n"))
        .where(dag_run.c.dag_id == dag_id, dag_run.c.state.in_(UNFINISHED_RUN_STATES))
        .group_by(dag_run.c.backfill_id, dag_run.c.state)
    )
    return {(row.backfill_id, str(row.state)): row.n for row in result}


def _backfills(ids: Collection[int], session: Session) -> dict[int | None, tuple[int, bool]]:
    if not ids:
        return {}
    result = session.execute(
        select(Backfill.id, Backfill.max_active_runs, Backfill.is_paused).where(Backfill.id.in_(ids))
    )
    return {row.id: (row.max_active_runs, bool(row.is_paused)) for row in result}


def parallelism() -> float:
    """Return ``[core] parallelism``, which counts for each scheduler; 0 means no limit (``BaseExecutor``)."""
    return conf.getint("core", "parallelism") or math.inf


def not_due(plan: PlanTables, now: datetime, session: Session) -> tuple[int, datetime | None]:
    """Count the runs in the future, and return when the first of them is due.

    ``get_queued_dag_runs_to_set_running`` ignores a future ``run_after``, and ``_schedule_dag_run`` a future
    logical date.
    """
    runs = plan.runs
    due = case((runs.c.logical_date > runs.c.run_after, runs.c.logical_date), else_=runs.c.run_after)
    count, first = session.execute(
        select(func.count(), func.min(due)).where(*plan.is_unfinished_run(), due > now)
    ).one()
    return count, first


def runs_after(plan: PlanTables, ends: Mapping[UUID, datetime], session: Session) -> int:
    """Count the runs whose logical date lies after the end date of the DAG version that they use."""
    runs = plan.runs
    found = 0
    for part in in_parts(by_value(ends)):
        late = or_(
            *(
                and_(runs.c.uses_dag_version_id.in_(versions), runs.c.logical_date > end)
                for end, versions in part
            )
        )
        found += session.scalar(select(func.count()).where(*plan.is_unfinished_run(), late)) or 0
    return found
