"""
# finance_close: the finance team closes the day

* `wait_for_ledger` is an **ExternalTaskSensor**: it waits for `close.publish` of the same night's
  `ledger_daily`. Airflow 3 does not follow it when that task is cleared.
* `which_close` **branches**; the close that is not wanted is **skipped**, and `done` runs after either.
* `start_audit` is a **TriggerDagRun**: clearing it starts `audit_trail` once more.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import dag, get_current_context, task
from demo_common import FINANCE_ACCESS, START_DATE, team_arguments


@dag(
    schedule="30 3 * * *",
    start_date=START_DATE,
    catchup=False,
    tags=["finance"],
    default_args=team_arguments("finance"),
    access_control=FINANCE_ACCESS,
    doc_md=__doc__,
)
def finance_close():
    """Close the books of a day, or on Mondays those of the week."""
    wait_for_ledger = ExternalTaskSensor(
        task_id="wait_for_ledger",
        external_dag_id="ledger_daily",
        external_task_id="close.publish",
        execution_delta=timedelta(minutes=90),
        mode="reschedule",
        poke_interval=30,
        timeout=3600,
    )

    @task.branch
    def which_close() -> str:
        return "close_week" if get_current_context()["logical_date"].weekday() == 0 else "close_day"

    @task
    def close_day() -> None:
        print("closed the day")

    @task
    def close_week() -> None:
        print("closed the week")

    @task(trigger_rule="none_failed_min_one_success")
    def done() -> str:
        return "closed"

    start_audit = TriggerDagRunOperator(task_id="start_audit", trigger_dag_id="audit_trail")

    wait_for_ledger >> which_close() >> [close_day(), close_week()] >> done() >> start_audit


finance_close()
