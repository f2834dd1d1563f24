"""Tasks that set off other DAGs."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
SALES, RATES = Asset("sales"), Asset("rates")

with DAG("producer", schedule=None, start_date=START):
    EmptyOperator(task_id="update", outlets=[SALES])

SCHEDULES = {"consumer": [SALES], "consumer_of_two": [SALES, RATES], "consumer_asleep": [SALES]}
for dag_id, schedule in SCHEDULES.items():
    with DAG(dag_id, schedule=schedule, start_date=START):
        EmptyOperator(task_id="report")

for dag_id in ("child", "child_asleep"):
    with DAG(dag_id, schedule=None, start_date=START):
        EmptyOperator(task_id="work")

with DAG("parent", schedule=None, start_date=START):
    TriggerDagRunOperator(task_id="another", trigger_dag_id="child")
    TriggerDagRunOperator(task_id="to_sleeping", trigger_dag_id="child_asleep")
    TriggerDagRunOperator(task_id="same", trigger_dag_id="child", trigger_run_id="there_already")
    TriggerDagRunOperator(
        task_id="same_or_skip",
        trigger_dag_id="child",
        trigger_run_id="there_already",
        skip_when_already_exists=True,
    )
    TriggerDagRunOperator(
        task_id="same_again", trigger_dag_id="child", trigger_run_id="to_reset", reset_dag_run=True
    )
