"""A daily load, a second one, and a DAG whose tasks are protected."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

for dag_id in ("cli_etl", "cli_report", "cli_locked"):
    with DAG(
        dag_id,
        schedule="@daily",
        start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
        catchup=False,
        is_paused_upon_creation=True,
        tags=["cli"],
        access_control={"team_a": {"DAGs": {"can_read", "can_edit"}}},
    ):
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="load") >> EmptyOperator(task_id="report")
