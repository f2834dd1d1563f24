"""The selection that a place in Airflow's UI stands for: a task instance, a dag run, a task or a DAG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.selection import failed_task_instances
from safe_clear_plugin.airflow_api.selection.select_task_instances import states_of
from safe_clear_plugin.core.failed_dags import FailedFilter
from safe_clear_plugin.core.regex import exactly
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import FAILED_STATES

FAILURES_SOUGHT = timedelta(days=7)
"""The period of the search for the last failures of a task or a DAG."""
FAILURES_TAKEN = timedelta(days=1)
"""Failures in this time before the last failure are selected with it."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in Airflow's UI; without a run it is a task, or a DAG, as a whole."""

    dag_id: str
    run_id: str = ""
    task_id: str = ""
    map_index: int | None = None


def linked_selection(place: Place, now: datetime) -> Selection | None:
    """Return the selection that a place starts with.

    A task instance is selected with everything downstream, as in Airflow's dialog. A dag run is selected with
    its failed task instances, or whole if none failed. A task or a DAG is selected with its last failures:
    ``None`` if it has no recent failure.
    """
    if not place.run_id:
        return _last_failures(place, now)
    runs = (place.run_id,)
    if place.task_id:
        return Selection(
            place.dag_id,
            task_regex=exactly(place.task_id),
            run_id=runs,
            map_index=place.map_index,
            include_downstream=True,
            include_setups=has_failed(place),
        )
    with new_session() as session:
        failed = failed_task_instances.any_failed(place.dag_id, place.run_id, session)
    return Selection(place.dag_id, run_id=runs).only_failed(wanted=failed)


def has_failed(place: Place) -> bool:
    """Whether a task instance failed, or any of its map indexes if none is named."""
    with new_session() as session:
        states = states_of(place.dag_id, place.run_id, place.task_id, place.map_index, session)
    return not states.isdisjoint(FAILED_STATES)


def _last_failures(place: Place, now: datetime) -> Selection | None:
    with new_session() as session:
        last = failed_task_instances.last_failure(place.dag_id, place.task_id, now - FAILURES_SOUGHT, session)
    if last is None:
        return None
    minute = last.replace(second=0, microsecond=0)
    until = minute + MINUTE - timedelta(microseconds=1)
    found = FailedFilter(minute - FAILURES_TAKEN, until).selection(place.dag_id)
    return replace(found, task_regex=exactly(place.task_id)) if place.task_id else found
