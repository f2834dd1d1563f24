"""A Dag in which a person decides whether what was extracted is loaded."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG

with DAG("approved", schedule="@daily", start_date=datetime(2026, 3, 1, tzinfo=timezone.utc), catchup=False):
    extract = EmptyOperator(task_id="extract")
    ask = HITLOperator(task_id="ask", subject="Load it?", options=["yes", "no"])
    extract >> ask >> EmptyOperator(task_id="load")
