"""Make the database that every measurement gets a copy of: `python -m bench.prepare HISTORY`."""

from __future__ import annotations

import json
import sys
from typing import Any

import psycopg
from airflow import settings
from airflow.models.taskmap import TaskMap
from sqlalchemy import update

from bench.dags import branched_dag, mapped_dag, small_dag
from bench.history import Loader
from bench.scopes import DAGS, MANY, History, dag_id, hour, run_id
from tests.support import prepare_server
from tests.support.factories import expand, make_run, set_states, store_dag

WRITTEN_WHEN_RUN: dict[str, Any] = {"unixname": "airflow", "queued_by_job_id": 1}


def store_models(mapped: int) -> None:
    """Store the DAGs, and one run of each for a model."""
    with settings.NonScopedSession() as session:
        for dag in (*(branched_dag(dag_id(number)) for number in range(DAGS)), mapped_dag()):
            store_dag(dag, session=session)
            run = make_run(dag, session=session, logical_date=hour(0), run_id=run_id(0), run_type="scheduled")
            if dag.dag_id == MANY:
                expand(run, "load", 2, session=session)
            states = dict.fromkeys(dag.task_ids, "success")
            set_states(run, states, session=session, **WRITTEN_WHEN_RUN)
        store_dag(small_dag(), session=session)
        session.execute(update(TaskMap).where(TaskMap.dag_id == MANY).values(length=mapped - 2))
        session.commit()


def main() -> None:
    """Migrate, store the DAGs, load the history."""
    history = History(**json.loads(sys.argv[1]))
    prepare_server.main()
    store_models(history.mapped)
    url = settings.engine.url
    settings.engine.dispose()
    with psycopg.connect(
        host=str(url.query["host"]), dbname=url.database, user=url.username, autocommit=True
    ) as connection:
        Loader(connection).load(history)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


if __name__ == "__main__":
    main()
