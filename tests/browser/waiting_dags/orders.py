"""A DAG that others wait for, some of them an hour later, which Airflow stores of one only."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG

SETTINGS = {"schedule": None, "start_date": datetime(2026, 3, 1, tzinfo=timezone.utc)}
WAITING_DAGS, SENSORS = 40, 5

with DAG("orders", **SETTINGS):
    EmptyOperator(task_id="extract") >> EmptyOperator(task_id="load")

with DAG("orders_report", **SETTINGS):
    (
        ExternalTaskSensor(task_id="wait_for_orders", external_dag_id="orders", external_task_id="load")
        >> EmptyOperator(task_id="report")
    )

with DAG("orders_dashboard", **SETTINGS):
    (
        ExternalTaskSensor(
            task_id="wait_for_the_report", external_dag_id="orders_report", external_task_id="report"
        )
        >> EmptyOperator(task_id="refresh")
    )

with DAG("orders_marketing_" + "and_its_many_regional_branches_" * 4, **SETTINGS):
    ExternalTaskSensor(task_id="warte_auf_aufträge", external_dag_id="orders", external_task_id="load")

with DAG("orders_stored", **SETTINGS):
    ExternalTaskSensor.partial(
        task_id="wait",
        external_dag_id="orders",
        external_task_id="load",
        execution_delta=timedelta(hours=1),
    ).expand(poke_interval=[60])

with DAG("wide", **SETTINGS):
    EmptyOperator(task_id="load")

for number in range(WAITING_DAGS):
    with DAG(f"after_wide_{number:02}", **SETTINGS) as after:
        for sensor in range(SENSORS):
            ExternalTaskSensor(task_id=f"wait_{sensor}", external_dag_id="wide", external_task_id="load")
    globals()[after.dag_id] = after
