"""What is cleared with something beside it that is not. The scheduler does these tasks by itself."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

with DAG("failed_upstream", schedule=None, start_date=START):
    broken = EmptyOperator(task_id="broken")
    broken >> EmptyOperator(task_id="load") >> EmptyOperator(task_id="publish")
    broken >> EmptyOperator(task_id="lenient", trigger_rule="none_failed")
    broken >> EmptyOperator(task_id="whatever", trigger_rule="all_done")
    broken >> EmptyOperator(task_id="alarm", trigger_rule="one_failed")
    part = EmptyOperator.partial(task_id="part").expand(doc_md=["0", "1", "2"])
    part >> EmptyOperator(task_id="total")

with DAG("skipped_upstream", schedule=None, start_date=START):
    gate = EmptyOperator(task_id="gate")
    gate >> EmptyOperator(task_id="below") >> EmptyOperator(task_id="further")
    gate >> EmptyOperator(task_id="tolerant", trigger_rule="none_failed")

with DAG("in_part", schedule=None, start_date=START):
    transform = EmptyOperator(task_id="transform")
    EmptyOperator(task_id="extract") >> transform
    transform >> [EmptyOperator(task_id="load"), EmptyOperator(task_id="report")]

for dag_id in ("changed", "moved"):
    with DAG(dag_id, schedule=None, start_date=START):
        EmptyOperator(task_id="kept") >> EmptyOperator(task_id="old_report")
