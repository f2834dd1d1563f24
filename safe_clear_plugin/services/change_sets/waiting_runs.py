"""The dag runs in which the sensors of other DAGs wait, and the selections that clear them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.dag.waiting_sensors import WaitingSensor, runs_at
from safe_clear_plugin.core.change_set import LeftOutDag
from safe_clear_plugin.core.input_limits import LIST_ITEMS
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.time_difference import write_time_difference
from safe_clear_plugin.services.change_sets.dag_choice import without_right
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.change_sets.sensor_search import SensorSearch

Deltas = Mapping[tuple[str, str], timedelta]
"""By DAG and sensor: the logical date of the sensor's own run less that of the run it waits for."""


@dataclass
class WaitingRuns:
    """The runs in which each sensor waits, DAG by DAG."""

    deltas: Deltas
    seen: SensorSearch
    session: Session
    by_dag: dict[str, dict[str, dict[str, datetime]]] = field(default_factory=dict)
    """By DAG and sensor: the runs, with their logical dates."""
    unknown: set[tuple[str, str]] = field(default_factory=set)
    _below: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _deltas: dict[tuple[str, str], timedelta] = field(default_factory=dict)

    def follow(self, dag_id: str, dates: Mapping[str, set[datetime]]) -> None:
        """Add the runs that wait for tasks of a DAG, directly or through other sensors."""
        open_dates = {dag_id: dates}
        while open_dates:
            dag_id, dates = open_dates.popitem()
            found = self.seen.sensors(dag_id, dates)
            for changed in {one.dag_id for one in found if self._add(one, dates)}:
                open_dates[changed] = self._dates_of(changed)
        self.by_dag = {dag_id: found for dag_id, found in self.by_dag.items() if any(found.values())}

    def _add(self, sensor: WaitingSensor, dates: Mapping[str, set[datetime]]) -> bool:
        """Add the runs of a sensor. Return whether there are new ones."""
        key = (sensor.dag_id, sensor.task_id)
        delta = sensor.delta if sensor.delta is not None else self.deltas.get(key)
        if delta is None:
            self.unknown.add(key)
            return False
        self._deltas[key] = delta
        self._below[key] = sensor.downstream
        awaited = set().union(*(dates[task_id] for task_id in sensor.awaited_task_ids))
        own = {moved for date in awaited if (moved := _moved(date, delta)) is not None}
        known = self.by_dag.setdefault(sensor.dag_id, {}).setdefault(sensor.task_id, {})
        new = {
            run_id: date
            for run_id, date in runs_at(sensor.dag_id, own, self.session).items()
            if run_id not in known
        }
        known.update(new)
        return bool(new)

    def _dates_of(self, dag_id: str) -> dict[str, set[datetime]]:
        """Return the dates at which each task of a DAG will be cleared."""
        found: dict[str, set[datetime]] = {}
        for sensor_id, runs in self.by_dag[dag_id].items():
            for task_id in (sensor_id, *self._below[dag_id, sensor_id]):
                found.setdefault(task_id, set()).update(runs.values())
        return found

    @property
    def left_out(self) -> list[LeftOutDag]:
        """The sensors without a known delta or without a run, and the DAGs to leave out."""
        without_delta = {
            (dag_id, task_id): LeftOutDag(
                dag_id,
                f"Airflow does not store which logical dates the sensor {task_id} waits for.",
                "Send its execution_delta in `deltas`, or plan the Dag by itself.",
            )
            for dag_id, task_id in self.unknown
        }
        without_run = {
            (dag_id, task_id): LeftOutDag(
                dag_id,
                f"No dag run with the sensor {task_id} {_relative_to_awaited_run(delta)}.",
                "Correct the time, or plan the Dag by itself.",
            )
            for (dag_id, task_id), delta in self._deltas.items()
            if not self.by_dag.get(dag_id, {}).get(task_id)
        }
        wanted = {(dag_id, ""): _left_out(dag_id, self.seen.user) for dag_id in self.seen.left_out}
        found = {**without_delta, **without_run, **wanted}
        return [found[key] for key in sorted(found)]

    def selections(self, of: Selection) -> list[Selection]:
        """Return a selection for each DAG: its sensors, and all tasks downstream of them, in their runs.

        :raises Refused: 422 naming the DAGs in which one selection would clear too much
        """
        found, refused = [], []
        for dag_id, by_sensor in self.by_dag.items():
            runs = {tuple(sorted(runs)) for runs in by_sensor.values() if runs}
            sensors = sorted(sensor_id for sensor_id, runs_ in by_sensor.items() if runs_)
            if len(runs) > 1 or any(len(one) > LIST_ITEMS for one in (*runs, sensors)):
                refused.append(_not_one_selection(dag_id, sensors))
                continue
            found.append(
                replace(
                    Selection(dag_id),
                    task_ids=tuple(sensors),
                    run_id=next(iter(runs)),
                    include_downstream=True,
                    running=of.running,
                    reset_dag_runs=of.reset_dag_runs,
                    timezone=of.timezone,
                )
            )
        refuse(refused)
        return found


def _relative_to_awaited_run(delta: timedelta) -> str:
    """Return ``is 1 h after the awaited run``."""
    if not delta:
        return "has the logical date of the awaited run"
    return f"is {write_time_difference(delta)} the awaited run"


def _left_out(dag_id: str, user: BaseUser) -> LeftOutDag:
    """Return why a DAG is left out on request: the user may not clear it, or does not want to."""
    if refused := without_right(dag_id, user):
        return LeftOutDag(dag_id, refused.reason, refused.remedy)
    return LeftOutDag(dag_id, "It was left out on request.")


def _moved(date: datetime, delta: timedelta) -> datetime | None:
    """Return the date plus the delta, if the calendar has it."""
    try:
        return date + delta
    except OverflowError:
        return None


def _not_one_selection(dag_id: str, sensors: Sequence[str]) -> RefusedDag:
    return RefusedDag(
        dag_id,
        422,
        f"The sensors of {dag_id} ({', '.join(sensors[:5])}) wait in different runs, or in too many.",
        "Plan it by itself, or leave it out.",
    )
