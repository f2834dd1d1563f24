"""Past durations of tasks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, extract, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.core.estimate import Duration

MAX_RUNS = 50
"""Latest dag runs that are read."""
MAX_ROWS = 50_000
"""About how many task instances are read: of large runs fewer are read."""
MIN_RUNS = 3


@dataclass(frozen=True, slots=True)
class History:
    """The durations of the tasks in the latest runs, by task id; tasks without a success are missing."""

    runs: int
    durations: dict[str, Duration]


def history(dag_id: str, task_ids: Collection[str], now: datetime, session: Session) -> History:
    """Read the durations of recent successes."""
    run_ids = _latest_runs(dag_id, now, session)
    if not run_ids or not task_ids:
        return History(len(run_ids), {})
    result = session.execute(_quantiles(dag_id, task_ids, run_ids))
    return History(
        len(run_ids),
        {
            row.task_id: Duration(
                float(row.median), float(row.p90), row.successes, max(float(row.lag or 0), 0.0)
            )
            for row in result
        },
    )


def _latest_runs(dag_id: str, now: datetime, session: Session) -> list[str]:
    query = (
        select(dag_run.c.run_id)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.run_after <= now)
        .order_by(dag_run.c.run_after.desc(), dag_run.c.id.desc())
        .limit(MAX_RUNS)
    )
    run_ids = list(session.scalars(query))
    if not run_ids:
        return []
    latest = select(func.count()).where(
        task_instance.c.dag_id == dag_id, task_instance.c.run_id == run_ids[0]
    )
    fit = MAX_ROWS // max(session.scalar(latest) or 1, 1)
    return run_ids[: max(fit, MIN_RUNS)]


def _quantiles(dag_id: str, task_ids: Collection[str], run_ids: Collection[str]) -> Select[Any]:
    """Select the median and the 90th percentile by nearest rank, which SQLite has no function for.

    The lag is a lower quartile, so that it measures the scheduler and not a full pool.
    """
    ti = task_instance
    lag = func.coalesce(extract("epoch", ti.c.start_date) - extract("epoch", ti.c.scheduled_dttm), 0)
    ranked = (
        select(
            ti.c.task_id,
            ti.c.duration,
            lag.label("lag"),
            func.count().over(partition_by=ti.c.task_id).label("n"),
            func.row_number().over(partition_by=ti.c.task_id, order_by=ti.c.duration).label("by_duration"),
            func.row_number().over(partition_by=ti.c.task_id, order_by=lag).label("by_lag"),
        )
        .where(
            ti.c.dag_id == dag_id,
            ti.c.task_id.in_(task_ids),
            ti.c.run_id.in_(run_ids),
            ti.c.state == "success",
            ti.c.duration.is_not(None),
        )
        .subquery()
    )

    def at(rank: ColumnElement[int], wanted: ColumnElement[int], value: ColumnElement[Any]) -> Any:
        return func.max(case((rank == wanted, value)))

    n = ranked.c.n
    return select(
        ranked.c.task_id,
        func.max(n).label("successes"),
        at(ranked.c.by_duration, (n + 1) // 2, ranked.c.duration).label("median"),
        at(ranked.c.by_duration, (9 * n + 9) // 10, ranked.c.duration).label("p90"),
        at(ranked.c.by_lag, (n + 3) // 4, ranked.c.lag).label("lag"),
    ).group_by(ranked.c.task_id)
