"""The bodies of requests, as JSON and as form data: the same names, the same rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import (
    DateField,
    Exclusions,
    Running,
    RunType,
    Selection,
    SuggestedField,
)
from safe_clear_plugin.core.states import RunState, TaskInstanceState
from safe_clear_plugin.web.api.types import (
    Count,
    Date,
    Id,
    Ids,
    Keys,
    MapIndex,
    Maybe,
    Reason,
    Request,
    StoredIds,
    TaskRegex,
    Timezone,
    Word,
    read_moment,
    read_wall_clock,
)

T = TypeVar("T")


class SelectionRequest(Request):
    """What to clear. A field that is left out does not narrow; none can be given empty."""

    dag_id: Id = Field(description="The DAG.")
    task_regex: Maybe[TaskRegex] = Field(
        None, description="RE2, searched in the task id. Left out: whole runs."
    )
    run_id: Maybe[Ids] = Field(None, description="Dag runs by id. Left out: every run in the range.")
    partition_key: Maybe[Ids] = Field(None, description="Dag runs by partition key, each exactly as given.")
    date_field: DateField = Field(
        "logical_date",
        description="The date that the range is about. A `partition_date` is read on the clock of the DAG's "
        "timetable, whatever time zone is named; it needs Airflow 3.3.",
    )
    timezone: Timezone = Field("UTC", description="The time zone of dates that name none.")
    date_from: Maybe[Date] = Field(None, description="Begin of the range, inclusive.")
    date_to: Maybe[Date] = Field(None, description="End of the range, inclusive.")
    run_type: Maybe[Annotated[list[RunType], Field(min_length=1, max_length=20)]] = None
    run_state: Maybe[Annotated[list[RunState], Field(min_length=1, max_length=20)]] = None
    state: Maybe[Annotated[list[TaskInstanceState], Field(min_length=1, max_length=50)]] = Field(
        None, description="States of task instances; `none` is that of one without a state."
    )
    include_setups: bool = Field(
        False, description="Take the setups and teardowns of what is taken in spite of `state`."
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
    running: Running = Field("leave_out", description="What becomes of running task instances.")
    run_on_latest_version: bool | None = Field(None, description="null: as configured.")
    reset_dag_runs: bool = Field(True, description="Queue finished dag runs again.")

    @field_validator("date_from", "date_to")
    @classmethod
    def _is_date(cls, text: str, info: ValidationInfo) -> str:
        # A time zone or a date field that is refused is not there.
        given = {"date_field": "logical_date", "timezone": "UTC"} | info.data
        _read_date(text, given["date_field"], given["timezone"], end=info.field_name == "date_to")
        return text

    def selection(self) -> Selection:
        """Return what was asked for; each name of a list counts once."""
        return Selection(
            dag_id=self.dag_id,
            task_regex=self.task_regex or "",
            run_id=_once(self.run_id),
            date_field=self.date_field,
            partition_key=_once(self.partition_key),
            date_from=self._date(self.date_from, end=False),
            date_to=self._date(self.date_to, end=True),
            timezone=self.timezone,
            run_type=_once(self.run_type),
            run_state=_once(self.run_state),
            state=_once(self.state),
            include_setups=self.include_setups,
            map_index=self.map_index,
            index_run_id=self.index_run_id or "",
            include_upstream=self.include_upstream,
            include_downstream=self.include_downstream,
            include_past=self.include_past,
            include_future=self.include_future,
            exclude_task_id=_once(self.exclude_task_id),
            exclude_run_id=_once(self.exclude_run_id),
            exclude_task_instance=_once(map(TaskInstanceKey.from_json, self.exclude_task_instance or ())),
            running=self.running,
            run_on_latest_version=self.run_on_latest_version,
            reset_dag_runs=self.reset_dag_runs,
        )

    def _date(self, text: str | None, *, end: bool) -> datetime | None:
        return _read_date(text, self.date_field, self.timezone, end=end) if text else None


class DraftRequest(SelectionRequest):
    """A selection that is being made."""

    dag_id: Id = Field("", description="The DAG, once it is chosen.")


class AnswersRequest(DraftRequest):
    """A selection that is being made, for what the page says about it so far."""

    browser_timezone: Maybe[Word] = Field(None, description="A time zone to show the range in, too.")


class ApplyRequest(Request):
    """Clear the next batch of a plan."""

    fingerprint: Word = Field(description="The plan's, as it was shown.")
    reason: Maybe[Reason] = None
    confirm_dag_id: Maybe[Id] = Field(None, description="The DAG id, typed, where the plan asks for it.")
    acknowledge: Annotated[list[Word], Field(max_length=input_limits.CODES)] = Field(
        default_factory=list, description="Codes of the findings that were read."
    )
    resume: bool = Field(False, description="Go on with a plan that was stopped.")
    take_over: bool = Field(False, description="Go on with a plan that somebody else applies.")

    def given(self) -> Confirmation:
        """Return what the confirmation gives of what the plan asks for."""
        return Confirmation(
            self.reason or "", self.confirm_dag_id or "", tuple(dict.fromkeys(self.acknowledge))
        )


class UndoRequest(Request):
    """Put back the next batch of a clear."""

    run_id: Maybe[StoredIds] = Field(None, description="The dag runs. Left out: all that were cleared.")
    reason: Maybe[Reason] = None
    cleared_runs: Maybe[Count] = Field(None, description="How many there were when that was decided.")
    go_on: bool = Field(False, description="Go on with what was asked for, and ask for no more.")

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The dag runs, each once; none stand for all."""
        return _once(self.run_id)


class ReasonRequest(Request):
    """Ask for a second person, or decline."""

    reason: Maybe[Reason] = None


class WidenRequest(Request):
    """Plan the same with one field of the selection switched on."""

    field: SuggestedField


class ExcludeRequest(Request):
    """Plan the same without some of it: each task, dag run or row whose position is not kept."""

    task: Maybe[StoredIds] = None
    run: Maybe[StoredIds] = None
    row: Maybe[Keys] = None
    keep_task: list[Count] = Field(
        default_factory=list, max_length=input_limits.LIST_ITEMS, description="Positions in `task`, from 0."
    )
    keep_run: list[Count] = Field(default_factory=list, max_length=input_limits.LIST_ITEMS)
    keep_row: list[Count] = Field(default_factory=list, max_length=input_limits.LIST_ITEMS)
    reason: Maybe[Reason] = None

    def exclusions(self) -> Exclusions:
        """Return what is shown, but not ticked.

        :raises Refused: 422 when a tick belongs to nothing
        """
        rows = _unticked("row", self.row or (), self.keep_row)
        return Exclusions(
            _unticked("task", self.task or (), self.keep_task),
            _unticked("run", self.run or (), self.keep_run),
            tuple(map(TaskInstanceKey.from_json, rows)),
        )


def _read_date(text: str, field: DateField, zone: str, *, end: bool) -> datetime:
    if field == "partition_date":
        return read_wall_clock(text, end=end)
    return read_moment(text, ZoneInfo(zone), end=end)


def _unticked(kind: str, shown: Sequence[T], kept: Sequence[int]) -> tuple[T, ...]:
    """Return what is shown but not ticked: each box is numbered by the hidden field that it belongs to."""
    if any(number >= len(shown) for number in kept):
        raise Refused(422, Problem(f"`keep_{kind}` has a number without a `{kind}`.", "Reload the plan."))
    ticked = set(kept)
    return _once(value for number, value in enumerate(shown) if number not in ticked)


def _once(values: Iterable[T] | None) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values or ()))
