"""A DAG that stays paused: what is cleared here stays as the clear leaves it."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task

with DAG(
    "still",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    is_paused_upon_creation=True,
):

    @task
    def one() -> None: ...

    @task
    def two() -> None: ...

    one() >> two()
