"""The fields of a selection in the body of a request, of one DAG or of several."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.selection import DateField, Running, RunType, Selection
from safe_clear_plugin.core.states import RunState, TaskInstanceState
from safe_clear_plugin.web.api.types import (
    Date,
    Id,
    Ids,
    Keys,
    MapIndex,
    Maybe,
    Request,
    TaskRegex,
    Timezone,
    read_moment,
    read_wall_clock,
)

T = TypeVar("T")


class SelectionFields(Request):
    """The task instances to clear in a DAG. A field that is left out does not narrow; none can be empty."""

    task_regex: Maybe[TaskRegex] = Field(
        None, description="RE2, searched in the task id. Without it and `task_ids`: whole runs."
    )
    task_ids: Maybe[Ids] = Field(None, description="Tasks by id, in place of `task_regex`.")
    run_id: Maybe[Ids] = Field(None, description="Dag runs by id. Left out: every run in the range.")
    partition_key: Maybe[Ids] = Field(None, description="Dag runs by partition key, each exactly as given.")
    date_field: DateField = Field(
        "logical_date",
        description="The date that the range filters on. A `partition_date` is read on the clock of the "
        "DAG's timetable, not in `timezone`; it needs Airflow 3.3.",
    )
    timezone: Timezone = Field("UTC", description="The time zone of dates that don't name one.")
    date_from: Maybe[Date] = Field(None, description="Begin of the range, inclusive.")
    date_to: Maybe[Date] = Field(None, description="End of the range, inclusive.")
    run_type: Maybe[Annotated[list[RunType], Field(min_length=1, max_length=20)]] = None
    run_state: Maybe[Annotated[list[RunState], Field(min_length=1, max_length=20)]] = None
    state: Maybe[Annotated[list[TaskInstanceState], Field(min_length=1, max_length=50)]] = Field(
        None, description="States of task instances; `none` stands for no state."
    )
    failed_from: Maybe[Date] = Field(
        None,
        description="Only task instances that are failed or upstream_failed and ended at this time or later. "
        "Upstream and downstream then start from these task instances, each in its own run.",
    )
    failed_to: Maybe[Date] = Field(
        None, description="The same, for task instances that ended at this time or earlier."
    )
    include_setups: bool = Field(
        False,
        description="Include the setups and teardowns of the selected tasks in spite of `state`, "
        "`failed_from` and `failed_to`.",
    )
    map_index: Maybe[MapIndex] = Field(None, description="One index of a mapped task; -1: not expanded.")
    index_run_id: Maybe[Id] = Field(
        None, description="The dag run whose mapping the relatives of the map index follow; `*`: none."
    )
    include_upstream: bool = False
    include_downstream: bool = False
    include_past: bool = False
    include_future: bool = False
    exclude_task_id: Maybe[Ids] = None
    exclude_run_id: Maybe[Ids] = None
    exclude_task_instance: Maybe[Keys] = Field(None, description="Each `[task_id, map_index, run_id]`.")
    running: Running = Field(
        "leave_out", description="Whether running task instances are left out or terminated."
    )
    run_on_latest_version: bool | None = Field(None, description="null: as configured.")
    reset_dag_runs: bool = Field(True, description="Queue finished dag runs again.")

    @field_validator("date_from", "date_to")
    @classmethod
    def _is_date(cls, text: str, info: ValidationInfo) -> str:
        # A time zone or a date field that was refused is missing here.
        given = {"date_field": "logical_date", "timezone": "UTC"} | info.data
        read_date(text, given["date_field"], given["timezone"], end=info.field_name == "date_to")
        return text

    @field_validator("failed_from", "failed_to")
    @classmethod
    def _is_moment(cls, text: str, info: ValidationInfo) -> str:
        zone = {"timezone": "UTC"} | info.data
        read_moment(text, ZoneInfo(zone["timezone"]), end=info.field_name == "failed_to")
        return text

    def selection_of(self, dag_id: str) -> Selection:
        """Return the selection in a DAG; each name of a list counts once."""
        return Selection(
            dag_id=dag_id,
            task_regex=self.task_regex or "",
            task_ids=each_once(self.task_ids),
            run_id=each_once(self.run_id),
            date_field=self.date_field,
            partition_key=each_once(self.partition_key),
            date_from=self._date(self.date_from, end=False),
            date_to=self._date(self.date_to, end=True),
            timezone=self.timezone,
            run_type=each_once(self.run_type),
            run_state=each_once(self.run_state),
            state=each_once(self.state),
            failed_from=self._moment(self.failed_from, end=False),
            failed_to=self._moment(self.failed_to, end=True),
            include_setups=self.include_setups,
            map_index=self.map_index,
            index_run_id=self.index_run_id or "",
            include_upstream=self.include_upstream,
            include_downstream=self.include_downstream,
            include_past=self.include_past,
            include_future=self.include_future,
            exclude_task_id=each_once(self.exclude_task_id),
            exclude_run_id=each_once(self.exclude_run_id),
            exclude_task_instance=each_once(map(TaskInstanceKey.from_json, self.exclude_task_instance or ())),
            running=self.running,
            run_on_latest_version=self.run_on_latest_version,
            reset_dag_runs=self.reset_dag_runs,
        )

    def _date(self, text: str | None, *, end: bool) -> datetime | None:
        return read_date(text, self.date_field, self.timezone, end=end) if text else None

    def _moment(self, text: str | None, *, end: bool) -> datetime | None:
        return read_moment(text, ZoneInfo(self.timezone), end=end) if text else None


def read_date(text: str, field: DateField, zone: str, *, end: bool) -> datetime:
    """Read a date of a date range, in the time zone of its field."""
    if field == "partition_date":
        return read_wall_clock(text, end=end)
    return read_moment(text, ZoneInfo(zone), end=end)


def each_once(values: Iterable[T] | None) -> tuple[T, ...]:
    """Return the values of a list, each once."""
    return tuple(dict.fromkeys(values or ()))
