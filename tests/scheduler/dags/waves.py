"""Runs that are cleared in waves. Their tasks are real ones: a run takes a while, or fails."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

with DAG("in_canary", schedule=None, start_date=START):

    @task
    def load(run: str) -> None:
        """Fail in one run alone."""
        if run == "run_1":
            raise RuntimeError("the rates of this day are wrong")

    load("{{ run_id }}") >> EmptyOperator(task_id="publish")

with DAG("few_at_a_time", schedule=None, start_date=START):

    @task
    def take(seconds: float) -> None:
        """Take a while."""
        time.sleep(seconds)

    take(1)
