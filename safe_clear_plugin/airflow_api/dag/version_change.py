"""Other changes in a dag run that moves to the latest DAG version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from airflow.exceptions import NotMapped
from airflow.models.expandinput import NotFullyPopulated
from airflow.serialization.definitions.mappedoperator import get_mapped_ti_count
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance


@dataclass(frozen=True, slots=True)
class Move:
    """One task instance that the move creates, restores or removes, in addition to the clear."""

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
    run_pk: int, latest: Version, cleared: Mapping[tuple[str, int], str | None], session: Session
) -> Iterator[Move]:
    """Yield what ``DagRun.verify_integrity`` will change in a finished run that is queued again.

    ``cleared`` maps the planned task instances of the run to the state that the clear gives them. The rules
    are mirrored, not called: Airflow's own log removals and count them in metrics, as a preview must not.
    """
    run = session.execute(select(dag_run).where(dag_run.c.id == run_pk)).one()
    rows = session.execute(
        select(task_instance).where(
            task_instance.c.dag_id == run.dag_id, task_instance.c.run_id == run.run_id
        )
    ).all()
    for row in rows:
        key = (row.task_id, row.map_index)
        before = cleared.get(key, row.state)
        after = _state_after(latest.dag, run.run_id, key, before, session)
        if after != before:
            yield _changed(row, after)
    known = {row.task_id for row in rows}
    for task_id, task in latest.dag.task_dict.items():
        if task_id not in known and _is_due(run, task):
            for map_index in _new_map_indexes(task, run.run_id, session):
                yield Move(
                    task_id,
                    map_index,
                    "create",
                    None,
                    None,
                    None,
                    None,
                    after_state=None,
                    after_max_tries=task.retries,
                )


def _state_after(
    dag: Any, run_id: str, key: tuple[str, int], state: str | None, session: Session
) -> str | None:
    """Mirror one round of ``DagRun._check_for_removed_or_restored_tasks``."""
    task_id, map_index = key
    if not dag.has_task(task_id):
        return "removed"
    kept = None if state == "removed" else state
    task = dag.get_task(task_id)
    try:
        count = task.get_parse_time_mapped_ti_count()
    except NotMapped:
        return kept
    except NotFullyPopulated:
        try:
            count = get_mapped_ti_count(task, run_id, session=session)
        except NotFullyPopulated:
            return "removed" if map_index >= 0 else kept
        return "removed" if map_index >= count else kept
    return kept if 0 <= map_index < count else "removed"


def _changed(row: Row[Any], after: str | None) -> Move:
    return Move(
        task_id=row.task_id,
        map_index=row.map_index,
        effect="remove" if after == "removed" else "restore",
        id=row.id,
        state=row.state,
        try_number=row.try_number,
        dag_version_id=row.dag_version_id,
        after_state=after,
        after_max_tries=row.max_tries,
    )


def _new_map_indexes(task: Any, run_id: str, session: Session) -> range:
    """Mirror ``DagRun._create_tasks``: at least one task instance, -1 while the mapping is not known."""
    try:
        count = get_mapped_ti_count(task, run_id, session=session)
    except (NotMapped, NotFullyPopulated):
        count = 0
    return range(count) if count else range(-1, 0)


def _is_due(run: Row[Any], task: Any) -> bool:
    """Mirror the ``task_filter`` of ``verify_integrity``: a task has its own first and last date."""
    if run.run_type == "backfill" or run.logical_date is None:
        return True
    starts = task.start_date is None or task.start_date <= run.logical_date
    ends = task.end_date is None or run.logical_date <= task.end_date
    return starts and ends
