"""A DAG of another team."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(
    "e2e_team_b",
    schedule="@daily",
    start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    catchup=False,
    access_control={"team_b": {"DAGs": {"can_read", "can_edit"}}},
    tags=["team-b"],
):
    EmptyOperator(task_id="extract")
