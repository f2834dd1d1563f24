"""Team A's daily ETL: four days of history, made by the scheduler's own catch-up."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "e2e_team_a",
    schedule="@daily",
    start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 3, 4, tzinfo=timezone.utc),
    catchup=True,
    access_control={"team_a": {"DAGs": {"can_read", "can_edit"}}},
    tags=["team-a"],
):
    extract = BashOperator(task_id="extract", bash_command="echo extract {{ ds }}")
    transform = BashOperator(task_id="transform", bash_command="echo transform {{ ds }}")
    load = BashOperator(task_id="load", bash_command="echo load {{ ds }}")
    extract >> transform >> load
