"""The queries of requests: filters, orders and pages. None is ever ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.grid.model import Level
from safe_clear_plugin.core.history import NEWEST_FIRST, HistoryOutcome, HistorySort
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.undo import RunChoice
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
    """The fields that a link fills in on the form: a plan's whole selection, or some fields of a new one."""

    plan: Maybe[Word] = Field(None, description="A plan whose selection fills in the form.")
    task_id: Maybe[Id] = Field(None, description="A task, in place of a task regex.")


class TabQuery(Request):
    """A place in Airflow's UI."""

    dag_id: Id
    run_id: Maybe[Id] = None
    task_id: Maybe[Id] = None
    map_index: Maybe[MapIndex] = None


class DagsQuery(Request):
    """A search for DAGs."""

    q: Annotated[str, StringConstraints(max_length=input_limits.FILTER, pattern=NO_NUL)] = Field(
        "", description="A part of the DAG id; of an empty one, all DAGs have it."
    )


class PlansQuery(Request):
    """Filters for the list of plans, the newest first."""

    dag_id: Maybe[Filter] = None
    user: Maybe[Filter] = Field(None, description="A part of the name of who made or confirmed it.")
    status: Maybe[Named[ShownStatus]] = Field(
        None, description="`interrupted`: being cleared, but no driver runs."
    )
    date_from: Maybe[Moment] = Field(None, description="Made on this day in UTC, or later.")
    date_to: Maybe[Moment] = Field(None, description="Made on this day in UTC, or before.")
    mine: bool = Field(False, description="Only the caller's own.")
    task_id: Maybe[StoredId] = Field(None, description="Plans that clear a task instance of this task.")
    run_id: Maybe[StoredId] = Field(None, description="Plans that clear a task instance of this run.")
    map_index: Maybe[MapIndex] = Field(
        None, description="With `task_id`: plans that clear the task instance with this map index."
    )
    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=200, description="Plans to answer with.")] = 50


class HistoryQuery(Request):
    """Filters, order and page of the history."""

    dag_id: Maybe[Filter] = None
    task_id: Maybe[StoredId] = Field(None, description="Clears of a task instance of this task.")
    run_id: Maybe[StoredId] = Field(None, description="Clears of a task instance of this run.")
    map_index: Maybe[MapIndex] = Field(
        None, description="With `task_id`: clears of the task instance with this map index."
    )
    user: Maybe[Filter] = Field(None, description="A part of the name of who made or confirmed it.")
    status: Maybe[HistoryOutcome] = Field(
        None, description="`airflow`: clears with Airflow's own means, from its audit log."
    )
    date_from: Maybe[Moment] = Field(None, description="On this day in UTC, or later.")
    date_to: Maybe[Moment] = Field(None, description="On this day in UTC, or before.")
    mine: bool = Field(False, description="Only the caller's own.")
    drafts: bool = Field(
        False,
        description="The caller's own plans that were neither confirmed nor sent for approval, instead of "
        "the history.",
    )
    sort: HistorySort = Field(NEWEST_FIRST, description="A column; with `-` the other way round.")
    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=200, description="Maximum number of entries.")] = 20


class PageQuery(Request):
    """A page of a list."""

    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=input_limits.PAGE_ROWS, description="Rows to answer with.")] = 100


class FindingQuery(Request):
    """A page of the task instances behind a finding, as the page shows them."""

    offset: Offset = 0


class RowsFilter(Request):
    """Filters for the task instances of a plan."""

    task: Maybe[Filter] = Field(None, description="A part of the task id.")
    task_id: Maybe[StoredId] = None
    run: Maybe[Filter] = Field(None, description="A part of the run id.")
    run_id: Maybe[StoredId] = None
    map_index: Maybe[MapIndex] = None
    run_from: Maybe[Moment] = Field(None, description="In runs from this moment on; UTC unless it says so.")
    run_to: Maybe[Moment] = Field(None, description="In runs before this moment.")
    state: Maybe[Word] = Field(None, description="The state before the clear; `none` without one.")
    effect: Maybe[Named[Effect]] = None
    outcome: Maybe[Named[Outcome]] = Field(None, description="The foreseen outcome.")
    why: Maybe[Filter] = Field(None, description="A part of why they are taken.")


class RowsPageQuery(RowsFilter, PageQuery):
    """A page of the task instances of a plan."""


class SortedRowsQuery(RowsFilter):
    """The task instances of a plan in an order."""

    sort: Maybe[Sort] = Field(None, description="A column; with `-` the other way round.")


class GridQuery(Request):
    """A part of a plan's grid."""

    grid: Maybe[Level] = Field(None, description="The dag runs of a column.")
    start: Maybe[Moment] = Field(None, alias="from")
    end: Maybe[Moment] = Field(None, alias="to")
    open: Maybe[StoredIds] = Field(None, description="Groups of lines that are unfolded.")
    first_row: Offset = 0
    first_column: Offset = 0


class PlanQuery(GridQuery, SortedRowsQuery):
    """A plan's page: a part of its grid, and a page of its task instances."""

    offset: Offset = 0


class UndoQuery(Request):
    """The dag runs of an undo."""

    run_id: Maybe[StoredIds] = Field(None, description="Left out: all that were cleared and not undone.")
    run: Maybe[Filter] = Field(None, description="Only runs with this text in their run id.")
    without: Maybe[StoredIds] = Field(None, description="Runs to leave out of these.")
    offset: Offset = 0

    @property
    def choice(self) -> RunChoice:
        """The runs of the undo."""
        return RunChoice(tuple(self.run_ids), self.run or "", tuple(dict.fromkeys(self.without or ())))

    @property
    def run_ids(self) -> list[str]:
        """The dag runs, each once; none stand for all."""
        return list(dict.fromkeys(self.run_id or ()))


class SetUndoQuery(Request):
    """The Dags of a change set that an undo would cover."""

    dag_id: Maybe[StoredIds] = Field(None, description="Left out: all that were cleared and not undone.")

    @property
    def chosen(self) -> list[str]:
        """The DAGs, each once; no DAGs stand for all."""
        return list(dict.fromkeys(self.dag_id or ()))
