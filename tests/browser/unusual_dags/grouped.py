"""A Dag with more task groups than the form offers at once."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup

with DAG("grouped", schedule="@daily", start_date=datetime(2026, 3, 1, tzinfo=timezone.utc), catchup=False):
    for number in range(1, 17):
        with TaskGroup(f"source_{number:02}"):
            EmptyOperator(task_id="load")
