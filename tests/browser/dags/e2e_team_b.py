"""A DAG of another team, with one day of history."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "e2e_team_b",
    schedule="@daily",
    start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    catchup=True,
    access_control={"team_b": {"DAGs": {"can_read", "can_edit"}}},
    tags=["team-b"],
):
    BashOperator(task_id="extract", bash_command="echo extract {{ ds }}")
