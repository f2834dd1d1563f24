"""What was asked for: the fields of a clear, as one frozen value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, time, timezone
from typing import Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from safe_clear_plugin.core.keys import TaskInstanceKey

DateField = Literal["logical_date", "run_after"]
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


T = TypeVar("T")

ALL_INDEXES = "*"
"""In place of a run id: no run's mapping decides, and the relatives of a map index are taken whole."""

SuggestedField = Literal["include_downstream", "include_upstream", "include_setups", "run_on_latest_version"]
"""A field of a selection that a finding may propose to switch on."""
SUGGESTED_FIELDS: tuple[SuggestedField, ...] = get_args(SuggestedField)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What a selection is to leave out."""

    task_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    task_instances: tuple[TaskInstanceKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.task_ids or self.run_ids or self.task_instances)


@dataclass(frozen=True, slots=True)
class Selection:
    """The task instances of one DAG that an operator asks to clear.

    Both dates are aware and inclusive. Empty tuples and ``None`` mean "not restricted"; an empty
    ``task_regex`` means whole runs. ``run_on_latest_version`` of ``None`` leaves the choice to the DAG
    and to Airflow's configuration. ``index_run_id`` is the dag run whose mapping the relatives of a
    ``map_index`` follow; where it is empty that is the run that is named, if one is. ``include_setups`` takes
    the setups and teardowns of what is taken in spite of ``state``; without it a state filters them too, as
    Airflow's clear does.
    """

    dag_id: str
    task_regex: str = ""
    run_id: tuple[str, ...] = ()
    date_field: DateField = "logical_date"
    date_from: datetime | None = None
    date_to: datetime | None = None
    timezone: str = "UTC"
    run_type: tuple[str, ...] = ()
    run_state: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
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
    def has_dates(self) -> bool:
        """Whether at least one bound of the date range is given."""
        return self.date_from is not None or self.date_to is not None

    @property
    def adds_setups(self) -> bool:
        """Whether setups and teardowns are taken that the states do not let through."""
        return self.include_setups and bool(self.state)

    @property
    def mapped_in(self) -> str:
        """The dag run whose mapping the relatives of the map index follow, or ``*``."""
        return self.index_run_id or (self.run_id[0] if len(self.run_id) == 1 else ALL_INDEXES)

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
        for name in ("date_from", "date_to"):
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
        for name in ("date_from", "date_to"):
            if kept.get(name):
                kept[name] = datetime.fromisoformat(kept[name])
        return cls(**kept)


def _each_once(*values: T) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def parse_moment(text: str, zone: ZoneInfo, *, end: bool) -> datetime:
    """Read a date or a date with a time, in ``zone`` unless it carries an offset of its own.

    A date alone is its first moment or, with ``end``, its last one. Where a clock change makes a time
    ambiguous, the reading that widens the range is taken: the earlier one, or with ``end`` the later one.

    Returned in UTC.

    :raises ValueError: when ``text`` is no ISO 8601 date or time
    :raises OverflowError: when it lies at the rim of the calendar and has no equivalent in UTC
    """
    text = text.strip()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    else:
        moment = datetime.combine(day, time.max if end else time.min)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone, fold=1 if end else 0)
    # In UTC, since Python holds an ambiguous time of a zone equal to no time of another.
    return moment.astimezone(timezone.utc)
