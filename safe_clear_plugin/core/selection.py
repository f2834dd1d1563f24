"""A selection: the fields of a requested clear, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.states import FAILED_STATES

DateField = Literal["logical_date", "run_after", "partition_date"]
Running = Literal["leave_out", "terminate"]

DATE_FIELDS: tuple[DateField, ...] = get_args(DateField)
RUNNING_CHOICES: tuple[Running, ...] = get_args(Running)

RunType = Literal[
    "scheduled",
    "manual",
    "backfill",
    "asset_triggered",
    "operator_triggered",
    "asset_materialization",
]

RUN_TYPES: tuple[RunType, ...] = get_args(RunType)


MOMENTS = ("date_from", "date_to", "failed_from", "failed_to")
"""The fields that are moments."""

T = TypeVar("T")

ALL_INDEXES = "*"
"""In place of a run id: no run's mapping decides, and the relatives of a map index are taken whole."""

SuggestedField = Literal[
    "include_downstream",
    "include_upstream",
    "include_setups",
    "run_on_latest_version",
    "failed_and_skipped",
]
"""A field of a selection that a finding may propose to switch on, or :meth:`Selection.failed_and_skipped`."""
SUGGESTED_FIELDS: tuple[SuggestedField, ...] = get_args(SuggestedField)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The tasks, runs and task instances that a selection leaves out."""

    task_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    task_instances: tuple[TaskInstanceKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.task_ids or self.run_ids or self.task_instances)


@dataclass(frozen=True, slots=True)
class Selection:
    """The task instances of one DAG that an operator asks to clear.

    Both dates are aware and inclusive. Empty tuples and ``None`` mean "not restricted"; without
    ``task_regex`` and ``task_ids``, whole runs are meant. ``run_on_latest_version`` of ``None`` leaves the
    choice to the DAG and to Airflow's configuration. ``index_run_id`` is the dag run whose mapping the
    relatives of a ``map_index`` follow; where it is empty that is the run that is named, if one is.
    ``include_setups`` takes the setups and teardowns of the selected tasks in spite of ``state``; without it
    a state filters them too, as Airflow's clear does.

    ``failed_from`` and ``failed_to`` select task instances that are failed or upstream_failed and ended in
    this time, on any date of their runs. Upstream and downstream then start from these task instances, each
    in its own run; in a mapped task group, at the same map index. ``state`` filters all of them.

    Partition dates are what the clock shows in the zone of the DAG's timetable: the dates of a range of them
    are such readings, in UTC only so that they are aware.
    """

    dag_id: str
    task_regex: str = ""
    task_ids: tuple[str, ...] = ()
    run_id: tuple[str, ...] = ()
    partition_key: tuple[str, ...] = ()
    date_field: DateField = "logical_date"
    date_from: datetime | None = None
    date_to: datetime | None = None
    timezone: str = "UTC"
    run_type: tuple[str, ...] = ()
    run_state: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    failed_from: datetime | None = None
    failed_to: datetime | None = None
    include_setups: bool = False
    map_index: int | None = None
    index_run_id: str = ""
    include_upstream: bool = False
    include_downstream: bool = False
    include_past: bool = False
    include_future: bool = False
    exclude_task_id: tuple[str, ...] = ()
    exclude_run_id: tuple[str, ...] = ()
    exclude_task_instance: tuple[TaskInstanceKey, ...] = ()
    running: Running = "leave_out"
    run_on_latest_version: bool | None = None
    reset_dag_runs: bool = True

    @property
    def names_tasks(self) -> bool:
        """Whether some tasks are selected, by a regex or by their ids, rather than whole runs."""
        return bool(self.task_regex or self.task_ids)

    @property
    def has_dates(self) -> bool:
        """Whether at least one bound of the date range is given."""
        return self.date_from is not None or self.date_to is not None

    @property
    def is_by_partition_date(self) -> bool:
        """Whether the dates are readings of the clock of the DAG's timetable."""
        return self.date_field == "partition_date"

    @property
    def is_by_partition(self) -> bool:
        """Whether the runs are those of some partitions."""
        return self.is_by_partition_date or bool(self.partition_key)

    @property
    def is_by_failure(self) -> bool:
        """Whether the task instances are those that failed in some time."""
        return self.failed_from is not None or self.failed_to is not None

    @property
    def adds_relatives(self) -> bool:
        """Whether upstream or downstream are those of single task instances, rather than of tasks."""
        return self.is_by_failure and (self.include_upstream or self.include_downstream)

    @property
    def adds_setups(self) -> bool:
        """Whether setups and teardowns are added although the filters on task instances leave them out."""
        return self.include_setups and (bool(self.state) or self.is_by_failure)

    @property
    def mapped_in(self) -> str:
        """The dag run whose mapping the relatives of the map index follow, or ``*``."""
        return self.index_run_id or (self.run_id[0] if len(self.run_id) == 1 else ALL_INDEXES)

    def whenever_failed(self) -> Selection:
        """Return the selection of the same tasks and runs, whether or when they failed."""
        return replace(self, failed_from=None, failed_to=None)

    def without_relatives(self) -> Selection:
        """Return the selection of what failed alone; one that is not by failure takes relatives by task."""
        return replace(self, include_upstream=False, include_downstream=False) if self.is_by_failure else self

    @property
    def is_only_failed(self) -> bool:
        """Whether the filter on states lets through exactly the failed states."""
        return set(self.state) == set(FAILED_STATES)

    def only_failed(self, *, wanted: bool) -> Selection:
        """Return the selection with only failed task instances and setups, or without that filter."""
        if wanted:
            return replace(self, state=FAILED_STATES, include_setups=True)
        return replace(self, state=()) if self.is_only_failed else self

    def failed_and_skipped(self) -> Selection:
        """Return the selection of failed and skipped task instances of any task in the same runs."""
        states = _each_once(*self.state, "failed", "upstream_failed", "skipped")
        return replace(self, task_regex="", task_ids=(), map_index=None, index_run_id="", state=states)

    def with_field(self, field: SuggestedField) -> Selection:
        """Return the selection changed as a finding proposes."""
        if field == "failed_and_skipped":
            return self.failed_and_skipped()
        changes: dict[str, Any] = {field: True}
        return replace(self, **changes)

    def changed(self, changes: Mapping[str, Any]) -> Selection:
        """Return the selection with other values, which are JSON values, for some of its fields."""
        values: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in changes.items()
        }
        return replace(self, **values)

    def without(self, excluded: Exclusions) -> Selection:
        """Return the selection without some of it; what it leaves out already stays left out."""
        keys = [
            key
            for key in excluded.task_instances
            if key.task_id not in excluded.task_ids and key.run_id not in excluded.run_ids
        ]
        return replace(
            self,
            exclude_task_id=_each_once(*self.exclude_task_id, *excluded.task_ids),
            exclude_run_id=_each_once(*self.exclude_run_id, *excluded.run_ids),
            exclude_task_instance=_each_once(*self.exclude_task_instance, *keys),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the selection as JSON values, dates in ISO 8601."""
        values = asdict(self)
        for name in MOMENTS:
            values[name] = values[name].isoformat() if values[name] else None
        values["exclude_task_instance"] = [key.to_json() for key in self.exclude_task_instance]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Selection:
        """Rebuild a selection from :meth:`to_json`."""
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in known
        }
        if keys := kept.get("exclude_task_instance"):
            kept["exclude_task_instance"] = tuple(map(TaskInstanceKey.from_json, keys))
        for name in MOMENTS:
            if kept.get(name):
                kept[name] = datetime.fromisoformat(kept[name])
        return cls(**kept)


def _each_once(*values: T) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
