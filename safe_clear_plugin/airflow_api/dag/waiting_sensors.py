"""Sensors of other DAGs that wait for tasks, and the tasks and dates that they wait for, as far as known.

Airflow serializes the template fields of an ``ExternalTaskSensor``, and the partial arguments of a mapped
one. So ``execution_delta`` is known only for mapped sensors, and ``execution_date_fn`` for no sensor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import external_sensors
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.key_table import is_named

CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class WaitingSensor:
    """A sensor that waits for tasks of another DAG."""

    dag_id: str
    task_id: str
    awaited_dag_id: str
    awaited_task_ids: tuple[str, ...]
    """The tasks that it waits for, among the tasks that were asked about."""
    delta: timedelta | None
    """The logical date of its own run less that of the run it waits for; ``None`` if not known."""
    downstream: frozenset[str]
    """The tasks downstream of it in its own DAG."""


def waiting_sensors(dag_id: str, task_ids: Collection[str], session: Session) -> list[WaitingSensor]:
    """Return the sensors that wait for one of the tasks, or for the whole DAG, by DAG and task."""
    waiting = external_sensors.waiting_rows(dag_id, session)
    query = select(SerializedDagModel).where(is_named(SerializedDagModel.id, waiting))
    return sorted(
        (
            sensor
            for row in session.scalars(query)
            for sensor in _sensors(row.data or {}, *waiting[row.id], awaited=(dag_id, task_ids))
        ),
        key=lambda one: (one.dag_id, one.task_id),
    )


def _sensors(
    data: Mapping[str, Any], dag_id: str, sensor_ids: Collection[str], *, awaited: tuple[str, Collection[str]]
) -> Iterator[WaitingSensor]:
    awaited_dag_id, task_ids = awaited
    below = {
        values["task_id"]: values.get("downstream_task_ids", ()) for values in external_sensors.tasks_in(data)
    }
    for values in external_sensors.operators(data, sensor_ids):
        met = tuple(task_id for task_id in sorted(task_ids) if external_sensors.waits(values, [task_id]))
        if met:
            task_id = values["task_id"]
            yield WaitingSensor(
                dag_id, task_id, awaited_dag_id, met, _delta(values), frozenset(_reached(task_id, below))
            )


def _delta(values: Mapping[str, Any]) -> timedelta | None:
    """Return the delta, if it is stored and the awaited tasks are known before the sensor runs."""
    if _is_decided_later(values):
        return None
    found = values.get("execution_delta")
    seconds = found.get("__var") if isinstance(found, Mapping) else found
    return timedelta(seconds=seconds) if isinstance(seconds, int | float) else None


def _is_decided_later(values: Mapping[str, Any]) -> bool:
    """Whether a template or a mapping decides which tasks the sensor waits for."""
    named = [values.get(name) for name in ("external_task_id", "external_task_ids", "external_task_group_id")]
    expansion = values.get("expand_input") or {}
    # A mapping over a list of arguments, or over another task's result, does not say which arguments it sets.
    by_lists = not expansion or expansion.get("type") == "dict-of-lists"
    return (
        not by_lists
        or "{" in str(named)
        or any(text in str(expansion) for text in ("external_", "execution_"))
    )


def _reached(task_id: str, below: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(below.get(task_id, ()))
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += below.get(one, ())
    return found


def runs_at(dag_id: str, dates: Collection[datetime], session: Session) -> dict[str, datetime]:
    """Return the runs of a DAG with one of these logical dates, each with its date."""
    found: dict[str, datetime] = {}
    wanted = sorted(dates)
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        query = select(dag_run.c.run_id, dag_run.c.logical_date).where(
            dag_run.c.dag_id == dag_id, dag_run.c.logical_date.in_(part)
        )
        found |= {row.run_id: row.logical_date for row in session.execute(query)}
    return found
