"""Small DAGs with a history, for tests that need something to clear."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from sqlalchemy.orm import Session

from tests.support.factories import make_run, set_states, store_dag
from tests.support.scene_cache import write_scene

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
FAILED_RUN = {"extract": "success", "transform": "failed", "load": "upstream_failed"}


def etl_dag(dag_id: str = "etl", **options: Any) -> DAG:
    """Return ``extract >> transform >> load``."""
    with DAG(dag_id, schedule=None, start_date=START, **options) as dag:
        _ = (
            EmptyOperator(task_id="extract", retries=2)
            >> EmptyOperator(task_id="transform")
            >> EmptyOperator(task_id="load")
        )
    return dag


def store_etl(session: Session, dag_id: str = "etl", *, runs: int = 3, **options: Any) -> DAG:
    """Store the DAG with a failed run a day from 2026-01-01 on, logical dates at midnight UTC."""
    return store_etls(session, dag_id, runs=runs, **options)[0]


def store_etls(session: Session, *dag_ids: str, runs: int = 3, **options: Any) -> list[DAG]:
    """Store several such DAGs as one scene: only the state at the start of a test is copied."""
    paused = options.pop("is_paused", False)
    dags = [etl_dag(dag_id, **options) for dag_id in dag_ids]

    def write() -> None:
        for dag in dags:
            _write_etl(dag, session, runs=runs, is_paused=paused)

    write_scene(("etl", dag_ids, runs, paused, repr(sorted(options.items()))), session, write)
    return dags


def _write_etl(dag: DAG, session: Session, *, runs: int, is_paused: bool) -> None:
    store_dag(dag, session=session, is_paused=is_paused)
    for day in range(1, runs + 1):
        date = START.replace(day=day)
        run = make_run(dag, session=session, logical_date=date, run_id=f"run_{day}", state="failed")
        set_states(run, FAILED_RUN, session=session)
