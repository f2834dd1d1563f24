"""What else changes in a dag run that moves to the latest DAG version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.settings import task_instance_mutation_hook
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from safe_clear_plugin.airflow_api.dags import Version


@dataclass(frozen=True, slots=True)
class Move:
    """One task instance that the move creates, restores or removes, beside or on top of the clear."""

    task_id: str
    map_index: int
    effect: Literal["create", "restore", "remove"]
    id: UUID | None
    state: str | None
    try_number: int | None
    dag_version_id: UUID | None
    after_state: str | None
    after_max_tries: int


def predict(
    run_pk: int,
    latest: Version,
    cleared: Mapping[tuple[str, int], str | None],
    session: Session,
) -> Iterator[Move]:
    """Yield what ``DagRun.verify_integrity`` will change in a run, without writing anything.

    ``cleared`` maps the planned task instances of the run to the state that the clear gives them. Airflow's
    own steps of ``verify_integrity`` run on objects of a session that is rolled back and never flushed.
    """
    try:
        with session.no_autoflush:
            yield from _predict(run_pk, latest, cleared, session)
    finally:
        session.rollback()
        session.expunge_all()


def _predict(
    run_pk: int, latest: Version, cleared: Mapping[tuple[str, int], str | None], session: Session
) -> Iterator[Move]:
    run = session.scalars(select(DagRun).where(DagRun.id == run_pk)).one()
    task_instances = list(
        session.scalars(
            select(TaskInstance).where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
        )
    )
    state_now = {ti.id: ti.state for ti in task_instances}
    for ti in task_instances:
        if (ti.task_id, ti.map_index) in cleared:
            set_committed_value(ti, "state", cleared[ti.task_id, ti.map_index])
    before = {ti.id: ti.state for ti in task_instances}
    # As in clear_task_instances: the run is queued again before verify_integrity looks at it.
    set_committed_value(run, "_state", "queued")
    run.dag = latest.dag
    known = run._check_for_removed_or_restored_tasks(latest.dag, task_instance_mutation_hook, session=session)
    for ti in task_instances:
        if ti.state != before[ti.id]:
            yield _changed(ti, state_now[ti.id])
    yield from _created(run, latest, known, session)


def _changed(ti: Any, state_now: str | None) -> Move:
    return Move(
        task_id=ti.task_id,
        map_index=ti.map_index,
        effect="remove" if ti.state == "removed" else "restore",
        id=ti.id,
        state=state_now,
        try_number=ti.try_number,
        dag_version_id=ti.dag_version_id,
        after_state=ti.state,
        after_max_tries=ti.max_tries,
    )


def _created(run: Any, latest: Version, known: set[str], session: Session) -> Iterator[Move]:
    """Mirror the second half of ``verify_integrity``: tasks of the DAG that the run has no row of."""
    creator = run._get_task_creator(defaultdict(int), task_instance_mutation_hook, True, latest.id)
    tasks = (task for task in latest.dag.task_dict.values() if _is_due(run, task, known))
    for row in run._create_tasks(tasks, creator, session=session):
        yield Move(
            task_id=row["task_id"],
            map_index=row["map_index"],
            effect="create",
            id=None,
            state=None,
            try_number=None,
            dag_version_id=None,
            after_state=row.get("state"),
            after_max_tries=row["max_tries"],
        )


def _is_due(run: Any, task: Any, known: set[str]) -> bool:
    if task.task_id in known:
        return False
    if run.run_type == "backfill" or run.logical_date is None:
        return True
    starts = task.start_date is None or task.start_date <= run.logical_date
    ends = task.end_date is None or run.logical_date <= task.end_date
    return starts and ends
