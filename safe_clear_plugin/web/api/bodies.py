"""The bodies of requests, as JSON and as form data: the same names, the same rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import (
    Exclusions,
    Selection,
    SuggestedField,
)
from safe_clear_plugin.web.api.selection_fields import SelectionFields, each_once
from safe_clear_plugin.web.api.types import (
    Count,
    Filter,
    Id,
    Keys,
    Maybe,
    Reason,
    Request,
    StoredIds,
    Word,
)
from safe_clear_plugin.web.api.wave_bodies import WavesRequest

T = TypeVar("T")


class SelectionRequest(SelectionFields):
    """A selection to clear. A field that is left out does not narrow; none can be given empty."""

    dag_id: Id = Field(description="The DAG.")

    def selection(self) -> Selection:
        """Return what was asked for; each name of a list counts once."""
        return self.selection_of(self.dag_id)


class DraftRequest(SelectionRequest):
    """A selection that is being made."""

    dag_id: Id = Field("", description="The DAG, once it is chosen.")


class AnswersRequest(DraftRequest):
    """A selection that is being made, for what the page says about it so far."""

    browser_timezone: Maybe[Word] = Field(None, description="A time zone to show the range in, too.")


class ApplyRequest(Request):
    """Have a plan cleared."""

    fingerprint: Word = Field(description="The plan's, as it was shown.")
    reason: Maybe[Reason] = None
    confirm_dag_id: Maybe[Id] = Field(None, description="The DAG id, typed, where the plan asks for it.")
    acknowledge: Annotated[list[Word], Field(max_length=input_limits.CODES)] = Field(
        default_factory=list, description="Codes of the findings that were read."
    )
    resume: bool = Field(False, description="Go on with a plan that was stopped.")
    take_over: bool = Field(False, description="Go on with a plan that somebody else applies.")
    finished_at: Maybe[Word] = Field(
        None, description="With `resume`: the plan's `finished_at`. A resume does not go past a later stop."
    )
    waves: Maybe[WavesRequest] = Field(
        None, description="Number of dag runs at a time. Left out: all at once, or as configured."
    )

    def given(self) -> Confirmation:
        """Return what the confirmation gives of what the plan asks for."""
        return Confirmation(
            self.reason or "", self.confirm_dag_id or "", tuple(dict.fromkeys(self.acknowledge))
        )


class UndoRequest(Request):
    """Have a clear taken back."""

    run_id: Maybe[StoredIds] = Field(None, description="The dag runs. Left out: all that were cleared.")
    reason: Maybe[Reason] = None
    cleared_runs: Maybe[Count] = Field(None, description="Number of cleared dag runs when that was decided.")
    put_back: Maybe[Count] = Field(
        None,
        description="Task instances that the preview promised to restore; recorded in the audit log.",
    )
    go_on: bool = Field(False, description="Go on with what was asked for, and ask for no more.")

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The dag runs, each once; none stand for all."""
        return each_once(self.run_id)


class PauseRequest(Request):
    """Pause the DAG before an undo of some runs."""

    run_id: Maybe[StoredIds] = Field(None, description="The dag runs that the page goes back to.")
    run: Maybe[Filter] = Field(None, description="Only runs with this text in their run id.")
    without: Maybe[StoredIds] = Field(None, description="Runs to leave out of these.")


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
        """Return the rows that are shown, but not ticked.

        :raises Refused: 422 when a tick belongs to nothing
        """
        rows = _unticked("row", self.row or (), self.keep_row)
        return Exclusions(
            _unticked("task", self.task or (), self.keep_task),
            _unticked("run", self.run or (), self.keep_run),
            tuple(map(TaskInstanceKey.from_json, rows)),
        )


def _unticked(kind: str, shown: Sequence[T], kept: Sequence[int]) -> tuple[T, ...]:
    """Return the rows that are shown but not ticked: each box has the number of its hidden field."""
    if any(number >= len(shown) for number in kept):
        raise Refused(422, Problem(f"`keep_{kind}` has a number without a `{kind}`.", "Reload the plan."))
    ticked = set(kept)
    return each_once(value for number, value in enumerate(shown) if number not in ticked)
