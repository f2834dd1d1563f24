"""A DAG with many versions: a dag run for each, written in bulk after the first that Airflow itself makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from tests.support.factories import FIRST_DATE, make_run, set_states, store_dag

States = Mapping[str, str]
"""The state of the task instances by task id; ``success`` where none is given."""


def chains(dag_id: str = "chains", *, tasks: int = 10, length: int = 5, doc: str = "", last: str = "") -> DAG:
    """Return a DAG of chains: ``step_0 >> step_1 >> …``; ``last`` is one more task after the first chain."""
    with DAG(dag_id, schedule=None, start_date=FIRST_DATE, doc_md=doc) as dag:
        made = [EmptyOperator(task_id=f"step_{number}", retries=1) for number in range(tasks)]
        for number in range(tasks):
            if number % length:
                made[number - 1] >> made[number]
        if last:
            made[length - 1] >> EmptyOperator(task_id=last)
    return dag


def alike(number: int, **options: Any) -> DAG:
    """Return a version that differs from the others in its text only."""
    return chains(doc=f"version {number}", **options)


def different(number: int, **options: Any) -> DAG:
    """Return a version that has a task of its own."""
    return chains(last=f"only_{number}", **options)


def store_versions(
    make: Callable[[int], DAG], versions: int, session: Session, *, states: States | None = None
) -> list[str]:
    """Store that many versions of a DAG, each with a finished dag run of its own; return the run ids."""
    states = states or {}
    dag = make(0)
    store_dag(dag, session=session, bundle_version="v0")
    run = make_run(dag, session=session, logical_date=FIRST_DATE, run_id="run_0", bundle_version="v0")
    run_states = {task_id: states.get(task_id, "success") for task_id in dag.task_ids}
    set_states(run, run_states, session=session)
    models = _models(run, session)
    for number in range(1, versions):
        _store_version(make(number), number, models, states, session)
    session.commit()
    return [f"run_{number}" for number in range(versions)]


def _models(run: DagRun, session: Session) -> dict[str, dict[str, Any]]:
    """Return the rows that the first version left, by table."""
    version = DagVersion.__table__
    found = {
        "version": session.execute(select(version).where(version.c.id == run.created_dag_version_id)),
        "run": session.execute(select(DagRun.__table__).where(DagRun.id == run.id)),
        "task_instance": session.execute(
            select(TaskInstance.__table__)
            .where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
            .limit(1)
        ),
    }
    return {name: dict(rows.mappings().one()) for name, rows in found.items()}


def _store_version(
    dag: DAG, number: int, models: Mapping[str, dict[str, Any]], states: States, session: Session
) -> None:
    later, version_id = timedelta(days=number), uuid4()
    moment = models["version"]["created_at"] + timedelta(seconds=number)
    session.execute(
        insert(DagVersion.__table__).values(
            **models["version"]
            | {"id": version_id, "version_number": number + 1, "bundle_version": f"v{number}"}
            | {"created_at": moment, "last_updated": moment}
        )
    )
    serialized = SerializedDagModel(LazyDeserializedDAG.from_dag(dag))
    serialized.dag_version_id = version_id
    serialized.created_at = serialized.last_updated = moment
    session.add(serialized)
    session.flush()
    session.expunge(serialized)
    run = {name: value for name, value in models["run"].items() if name != "id"}
    session.execute(
        insert(DagRun.__table__).values(
            **run
            | {
                "run_id": f"run_{number}",
                "created_dag_version_id": version_id,
                "bundle_version": f"v{number}",
            }
            | {name: run[name] + later for name in ("logical_date", "run_after", "start_date", "end_date")}
        )
    )
    session.execute(
        insert(TaskInstance.__table__), list(_task_instances(dag, number, version_id, models, states))
    )


def _task_instances(
    dag: DAG, number: int, version_id: UUID, models: Mapping[str, dict[str, Any]], states: States
) -> Iterator[dict[str, Any]]:
    for task_id in dag.task_ids:
        yield models["task_instance"] | {
            "id": uuid4(),
            "task_id": task_id,
            "task_display_name": task_id,
            "run_id": f"run_{number}",
            "dag_version_id": version_id,
            "state": states.get(task_id, "success"),
        }
