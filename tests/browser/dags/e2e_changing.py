"""A DAG of team A whose file a test rewrites."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(
    "e2e_changing",
    schedule="@daily",
    start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 3, 2, tzinfo=timezone.utc),
    catchup=False,
    access_control={"team_a": {"DAGs": {"can_read", "can_edit"}}},
    tags=["team-a"],
):
    EmptyOperator(task_id="extract") >> EmptyOperator(task_id="load")
