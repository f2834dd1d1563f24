"""The DAGs whose sensors wait for other DAGs: read once, then only where a serialized DAG has changed.

``SerializedDagModel.get_dag_dependencies`` answers the same for all DAGs, and reads them all each time.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from threading import Lock
from typing import Any
from uuid import UUID

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.dates import utcnow

OVERLAP = timedelta(minutes=2)
"""DAG processors' clocks differ, and a transaction commits some time after the moment that it writes."""
CHUNK = 500
MAX_READ = 100
"""DAGs whose sensors are looked at one by one; of further ones it is enough that they name the DAG."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """The latest serialized DAG, as far as it was known; ``sensors`` by the DAG that they wait for."""

    row_id: UUID
    created_at: datetime
    last_updated: datetime
    sensors: Mapping[str, tuple[str, ...]]


@dataclass(slots=True)
class _Known:
    entries: dict[str, _Entry] = field(default_factory=dict)
    seen: datetime | None = None
    lock: Lock = field(default_factory=Lock)


_known = _Known()


def waiting_dag_ids(dag_id: str, task_ids: Collection[str], session: Session) -> set[str]:
    """Return the DAGs with a sensor that waits for one of the tasks, or for the whole DAG.

    :param task_ids: tasks of ``dag_id``; a sensor on a task group counts if one of them is in the group
    """
    waiting = waiting_rows(dag_id, session)
    read = dict(islice(waiting.items(), MAX_READ))
    rest = {other for row_id, (other, _) in waiting.items() if row_id not in read}
    return rest | {
        read[row.id][0]
        for row in session.scalars(select(SerializedDagModel).where(SerializedDagModel.id.in_(read)))
        if any(waits(sensor, task_ids) for sensor in operators(row.data or {}, read[row.id][1]))
    }


def waiting_rows(dag_id: str, session: Session) -> dict[UUID, tuple[str, tuple[str, ...]]]:
    """Return the serialized DAGs with sensors that name the DAG: DAG id and sensors by row id."""
    with _known.lock:
        _refresh(session)
        return {
            entry.row_id: (other, entry.sensors[dag_id])
            for other, entry in _known.entries.items()
            if dag_id in entry.sensors and other != dag_id
        }


def awaited_dag_ids(dag_ids: Collection[str], session: Session) -> dict[str, set[str]]:
    """Return, for each of the DAGs, which of the others its sensors wait for, through any task."""
    wanted = set(dag_ids)
    with _known.lock:
        _refresh(session)
        found = {dag_id: _known.entries.get(dag_id) for dag_id in wanted}
        return {
            dag_id: (wanted & entry.sensors.keys()) - {dag_id} for dag_id, entry in found.items() if entry
        }


def _refresh(session: Session) -> None:
    """Take in the serialized DAGs that were written since the last time."""
    model = SerializedDagModel
    query = select(model.id, model.dag_id, model.created_at, model.last_updated)
    if _known.seen is not None:
        query = query.where(model.last_updated >= _known.seen - OVERLAP)
    newest: dict[str, Any] = {}
    for row in session.execute(query.execution_options(yield_per=5_000)):
        if row.dag_id not in newest or newest[row.dag_id].created_at < row.created_at:
            newest[row.dag_id] = row
    changed = [row for row in newest.values() if not _is_known(row)]
    for start in range(0, len(changed), CHUNK):
        rows = {row.id: row for row in changed[start : start + CHUNK]}
        for row_id, dependencies in _dependencies(rows, session):
            row = rows[row_id]
            sensors = _sensors(dependencies, row.dag_id)
            _known.entries[row.dag_id] = _Entry(row_id, row.created_at, row.last_updated, sensors)
    if newest:
        # A processor whose clock is ahead must not hide what others write until then.
        latest = min(max(row.last_updated for row in newest.values()), utcnow())
        _known.seen = max(latest, _known.seen) if _known.seen else latest


def _is_known(row: Any) -> bool:
    entry = _known.entries.get(row.dag_id)
    return entry is not None and (
        (entry.row_id, entry.last_updated) == (row.id, row.last_updated) or row.created_at < entry.created_at
    )


def _dependencies(row_ids: Collection[UUID], session: Session) -> Iterator[tuple[UUID, Any]]:
    """Yield ``dag_dependencies`` of serialized DAGs, which may be compressed, without the rest of them."""
    model = SerializedDagModel
    found = session.execute(
        select(model.id, model._data["dag", "dag_dependencies"].label("found"), model._data_compressed).where(
            model.id.in_(row_ids)
        )
    )
    for row_id, dependencies, compressed in found:
        whole = json.loads(zlib.decompress(compressed)) if compressed else None
        yield row_id, (whole["dag"].get("dag_dependencies") if whole else dependencies) or []


def _sensors(dependencies: Collection[Mapping[str, Any]], dag_id: str) -> dict[str, tuple[str, ...]]:
    sensors: dict[str, tuple[str, ...]] = {}
    for item in dependencies:
        if item.get("dependency_type") == "sensor" and item.get("target") == dag_id:
            source = str(item.get("source"))
            sensors[source] = (*sensors.get(source, ()), str(item.get("dependency_id")))
    return sensors


def operators(data: Mapping[str, Any], task_ids: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the serialized values of some tasks of a DAG; for mapped tasks, with the partial arguments."""
    for values in tasks_in(data):
        if values.get("task_id") in task_ids:
            yield {**values.get("partial_kwargs", {}), **values}


def tasks_in(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the serialized values of each task of a DAG."""
    for task in data.get("dag", {}).get("tasks", ()):
        yield task.get("__var", task)


def waits(sensor: Mapping[str, Any], task_ids: Collection[str]) -> bool:
    """Whether an ``ExternalTaskSensor`` waits for one of the tasks; without a task it waits for the run."""
    if group := sensor.get("external_task_group_id"):
        return "{" in group or any(task_id.startswith(f"{group}.") for task_id in task_ids)
    named = sensor.get("external_task_ids") or sensor.get("external_task_id")
    if not named:
        return True
    names = [named] if isinstance(named, str) else named
    # A templated or mapped argument is only known when the sensor runs.
    return any(not isinstance(name, str) or "{" in name or name in task_ids for name in names)
