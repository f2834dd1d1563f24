"""What keeps a dag run or a task instance from starting. The scheduler does the tasks by itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = None


def one_task(dag_id: str, dag_options: dict[str, Any] | None = None, **options: Any) -> DAG:
    """Return a DAG of one task."""
    with DAG(dag_id, schedule=None, start_date=START, **(dag_options or {})) as dag:
        EmptyOperator(task_id="work", **options)
    return dag


asleep = one_task("asleep")
kept_finished = one_task("kept_finished")
to_come = one_task("to_come")
backfilled = one_task("backfilled")
stuck_past = one_task("stuck_past", depends_on_past=True)
good_past = one_task("good_past", depends_on_past=True)
ended = one_task("ended", {"end_date": END})
ended_task = one_task("ended_task", end_date=END)

with DAG("stuck_downstream", schedule=None, start_date=START):
    EmptyOperator(task_id="work", wait_for_downstream=True) >> EmptyOperator(task_id="after")

with DAG("failing_past", schedule=None, start_date=START):
    EmptyOperator(task_id="broken") >> EmptyOperator(task_id="work", depends_on_past=True)

with DAG("timing_out", schedule=None, start_date=START, dagrun_timeout=timedelta(days=1)):
    EmptyOperator(task_id="one") >> EmptyOperator(task_id="two")

due = one_task(
    "due",
    {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            # So far off that the scheduler never finds it missed.
            interval=timedelta(days=36_500),
            callback=AsyncCallback("tests.support.factories.nobody"),
        )
    },
)
