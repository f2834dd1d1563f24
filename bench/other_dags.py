"""How long another DAG's run waits for its task to start, during the re-runs of a clear."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psycopg

from bench import breathing
from bench.databases import BenchServer
from bench.scopes import BESIDE, Scope
from bench.workers import DATABASE
from tests.support.postgres import SUPERUSER

SIZE = 5_000
AT_MOST = 2
"""Maximum number of unfinished dag runs of the clear in waves."""
EVERY = 3.0
"""Seconds from one run of the other DAG to the next."""
SECONDS = 60.0
"""Length of the measurement, from the start of the re-runs."""
LAST_WAIT = 15.0
IDLE_SECONDS = 5.0
"""How long nothing may run before the measurement begins: a new scheduler first creates runs of all DAGs."""

STARTS = """
SELECT extract(epoch FROM ti.start_date - r.queued_at)::float, extract(epoch FROM now() - r.queued_at)::float
FROM dag_run r JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
WHERE r.dag_id = %s
"""
UNDER_WAY = """
SELECT count(*) FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running') AND (%(dag_id)s::text IS NULL OR dag_id = %(dag_id)s)
"""
Clear = Callable[[breathing.Send, Scope], None]


def rows(server: BenchServer, scope: Scope, cap: float) -> list[dict[str, Any]]:
    """Measure the starts without re-runs, and during the re-runs after each way to clear."""
    ways: dict[str, Clear | None] = {
        "nothing": None,
        "ours": breathing.ours,
        "ours_waves": in_waves,
        "airflow_rest": breathing.airflow,
    }
    return [
        {"op": "other_dags", "size": scope.task_instances, "who": who, **_measure(server, scope, clear, cap)}
        for who, clear in ways.items()
    ]


def in_waves(send: breathing.Send, scope: Scope) -> None:
    """Plan, and let the driver clear the next run when one has ended."""
    breathing.confirm(send, scope, waves={"at_most_runs": AT_MOST})


def _measure(server: BenchServer, scope: Scope, clear: Clear | None, cap: float) -> dict[str, Any]:
    with (
        server.copy(DATABASE),
        breathing.serving(server, "bench.paced.PacedExecutor", cap) as (_, send),
        psycopg.connect(
            host=str(server.directory), dbname=DATABASE, user=SUPERUSER, autocommit=True
        ) as database,
    ):
        _wait_until_idle(database, cap)
        if clear:
            clear(send, scope)
            _wait_until_under_way(database, scope, cap)
        return _starts(send, database)


def _under_way(database: psycopg.Connection[Any], dag_id: str | None = None) -> int:
    return database.execute(UNDER_WAY, {"dag_id": dag_id}).fetchone()[0]  # type: ignore[index,no-any-return]


def _wait_until_idle(database: psycopg.Connection[Any], cap: float) -> None:
    ends = time.monotonic() + cap
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < IDLE_SECONDS:
        if _under_way(database):
            idle_since = time.monotonic()
        if time.monotonic() > ends:
            raise TimeoutError("task instances still run before the measurement")
        time.sleep(0.2)


def _wait_until_under_way(database: psycopg.Connection[Any], scope: Scope, cap: float) -> None:
    ends = time.monotonic() + cap
    while not _under_way(database, scope.dag_id):
        if time.monotonic() > ends:
            raise TimeoutError(f"the scheduler runs nothing of {scope.dag_id}")
        time.sleep(0.2)


def _starts(send: breathing.Send, database: psycopg.Connection[Any]) -> dict[str, Any]:
    """Trigger the other DAG repeatedly; return the waits of its runs, also of runs that still wait."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        send(f"/api/v2/dags/{BESIDE}/dagRuns", json={"logical_date": None})
        time.sleep(EVERY)
    time.sleep(LAST_WAIT)
    found = database.execute(STARTS, [BESIDE]).fetchall()
    waits = [started if started is not None else so_far for started, so_far in found]
    return {
        "runs": len(found),
        "started": sum(started is not None for started, _ in found),
        "median": median(waits),
        "longest": max(waits),
    }
