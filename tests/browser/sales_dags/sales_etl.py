"""The DAG on the screenshots."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task

with DAG(
    "sales_etl",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["finance", "etl"],
    access_control={"team_a": {"DAGs": {"can_read", "can_edit"}}},
):

    @task(map_index_template="{{ region }}")
    def per_region(region: str) -> str:
        return region

    with TaskGroup("extract") as extract:
        EmptyOperator(task_id="orders")
        EmptyOperator(task_id="fx_rates")
    with TaskGroup("transform") as transform:
        EmptyOperator(task_id="join") >> EmptyOperator(task_id="totals")
    with TaskGroup("load") as load:
        per_region.expand(region=["eu", "us", "apac"]) >> EmptyOperator(task_id="publish")
    with TaskGroup("report") as report:
        EmptyOperator(task_id="daily")
    extract >> transform >> load >> report
