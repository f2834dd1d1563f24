"""Team A's daily load: what each task returns says which try of it wrote that."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, TaskGroup, get_current_context, task

with DAG(
    "e2e_orders",
    schedule="@daily",
    start_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 3, 5, tzinfo=timezone.utc),
    catchup=False,
    access_control={"team_a": {"DAGs": {"can_read", "can_edit"}}},
    tags=["team-a"],
):

    @task
    def extract() -> str:
        return written_by_this_try()

    @task
    def orders() -> str:
        return written_by_this_try()

    @task
    def customers() -> str:
        return written_by_this_try()

    @task
    def verify(part: int) -> str:
        return f"{part}: {written_by_this_try()}"

    @task
    def report() -> str:
        return written_by_this_try()

    def written_by_this_try() -> str:
        ti = get_current_context()["ti"]
        return f"{ti.task_id} try {ti.try_number}"

    extracted = extract()
    with TaskGroup("load"):
        loaded = orders() >> customers()
    extracted >> loaded >> verify.expand(part=[0, 1, 2]) >> report()
