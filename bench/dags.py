"""The DAGs of the benchmark."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from bench.scopes import BESIDE, FIRST, MANY, TASKS

STEPS = ("extract", "check", "transform", "load", "publish")
"""The steps of each of a DAG's branches, in their order."""
BRANCHES = TASKS // len(STEPS)
RETRIES = 2


def task_id(step: str, branch: int) -> str:
    """Return the id of a task."""
    return f"{step}_{branch:02d}"


def branched_dag(dag_id: str) -> DAG:
    """Return a DAG of ten branches with five steps each."""
    with DAG(dag_id, schedule="@hourly", start_date=FIRST, default_args={"retries": RETRIES}) as dag:
        for branch in range(BRANCHES):
            before = None
            for step in STEPS:
                this = BashOperator(task_id=task_id(step, branch), bash_command=f"echo {step}", pool_slots=1)
                if before is not None:
                    before >> this
                before = this
    return dag


def small_dag() -> DAG:
    """Return a DAG of one task that runs when it is triggered."""
    with DAG(BESIDE, schedule=None, start_date=FIRST) as dag:
        BashOperator(task_id="report", bash_command="echo report")
    return dag


def mapped_dag() -> DAG:
    """Return a DAG whose ``load`` is mapped over what ``list_files`` returns."""
    with DAG(MANY, schedule="@hourly", start_date=FIRST, default_args={"retries": RETRIES}) as dag:

        @task
        def list_files() -> list[str]:
            return []

        @task
        def load(name: str) -> str:
            return name

        load.expand(name=list_files()) >> EmptyOperator(task_id="report")
    return dag
