"""The queries of requests: filters, orders and pages. None is ever ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.grid.model import Level
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.web.api.bodies import DraftRequest
from safe_clear_plugin.web.api.types import (
    NO_NUL,
    Filter,
    Id,
    MapIndex,
    Maybe,
    Moment,
    Named,
    Offset,
    Request,
    StoredId,
    StoredIds,
    Word,
)

Sort = Literal[
    "run", "task", "tries", "state", "effect", "outcome", "why",
    "-run", "-task", "-tries", "-state", "-effect", "-outcome", "-why",
]  # fmt: skip


class SelectQuery(DraftRequest):
    """What a link fills in on the form: a plan's whole selection, or some fields of a new one."""

    plan: Maybe[Word] = Field(None, description="A plan whose selection fills in the form.")
    task_id: Maybe[Id] = Field(None, description="A task, in place of a task regex.")


class DagsQuery(Request):
    """Which DAGs to find."""

    q: Annotated[str, StringConstraints(max_length=input_limits.FILTER, pattern=NO_NUL)] = Field(
        "", description="A part of the DAG id; of an empty one, all DAGs have it."
    )


class PlansQuery(Request):
    """Which plans to list, the newest first."""

    dag_id: Maybe[Filter] = None
    user: Maybe[Filter] = Field(None, description="A part of the name of who made or confirmed it.")
    status: Maybe[Named[ShownStatus]] = Field(None, description="`stopped` finds interrupted clears, too.")
    date_from: Maybe[Moment] = Field(None, description="Made on this day in UTC, or later.")
    date_to: Maybe[Moment] = Field(None, description="Made on this day in UTC, or before.")
    mine: bool = Field(False, description="Only the caller's own.")
    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=200, description="Plans to answer with.")] = 50


class PageQuery(Request):
    """A page of a list."""

    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=input_limits.PAGE_ROWS, description="Rows to answer with.")] = 100


class FindingQuery(Request):
    """A page of the task instances behind a finding, as the page shows them."""

    offset: Offset = 0


class RowsFilter(Request):
    """Which task instances of a plan."""

    task: Maybe[Filter] = Field(None, description="A part of the task id.")
    task_id: Maybe[StoredId] = None
    run: Maybe[Filter] = Field(None, description="A part of the run id.")
    run_id: Maybe[StoredId] = None
    map_index: Maybe[MapIndex] = None
    run_from: Maybe[Moment] = Field(None, description="In runs from this moment on; UTC unless it says so.")
    run_to: Maybe[Moment] = Field(None, description="In runs before this moment.")
    state: Maybe[Word] = Field(None, description="The state before the clear; `none` without one.")
    effect: Maybe[Named[Effect]] = None
    outcome: Maybe[Named[Outcome]] = Field(None, description="What the scheduler will make of them.")
    why: Maybe[Filter] = Field(None, description="A part of why they are taken.")


class RowsPageQuery(RowsFilter, PageQuery):
    """A page of the task instances of a plan."""


class SortedRowsQuery(RowsFilter):
    """The task instances of a plan in an order."""

    sort: Maybe[Sort] = Field(None, description="A column; with `-` the other way round.")


class GridQuery(Request):
    """A part of a plan's grid."""

    grid: Maybe[Level] = Field(None, description="What a column is.")
    start: Maybe[Moment] = Field(None, alias="from")
    end: Maybe[Moment] = Field(None, alias="to")
    open: Maybe[StoredIds] = Field(None, description="Groups of lines that are unfolded.")
    first_row: Offset = 0
    first_column: Offset = 0


class PlanQuery(GridQuery, SortedRowsQuery):
    """A plan's page: a part of its grid, and a page of its task instances."""

    offset: Offset = 0


class UndoQuery(Request):
    """Which dag runs an undo would be about."""

    run_id: Maybe[StoredIds] = Field(None, description="Left out: all that were cleared and not undone.")

    @property
    def run_ids(self) -> list[str]:
        """The dag runs, each once; none stand for all."""
        return list(dict.fromkeys(self.run_id or ()))
