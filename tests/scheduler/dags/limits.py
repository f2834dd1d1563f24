"""More than may be at work at a time: these tasks are executed, as only those count."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from airflow.sdk import DAG, task

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@task
def work(seconds: float = 0) -> None:
    """Take some time."""
    time.sleep(seconds)


with DAG("narrow", schedule=None, start_date=START, max_active_runs=2):
    work(1)

with DAG("pools", schedule=None, start_date=START):
    work.override(task_id="missing", pool="nowhere")()
    work.override(task_id="closed", pool="closed")()
    work.override(task_id="too_big", pool="small", pool_slots=2)()
    work.override(task_id="fits", pool="small")()

with DAG("unfinished_upstream", schedule=None, start_date=START):
    work.override(task_id="gate", pool="closed")() >> work.override(task_id="load")()

with DAG("few_tasks", schedule=None, start_date=START, max_active_tasks=1):
    work.expand(seconds=[1, 1])

with DAG("one_of_a_task", schedule=None, start_date=START):
    work.override(max_active_tis_per_dag=1)(1)
