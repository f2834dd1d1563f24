"""The grid of a plan: what part of it the query asks for, gathered for the templates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.core.grid.model import KINDS
from safe_clear_plugin.core.grid.time_buckets import Unit
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import availability, grid_columns
from safe_clear_plugin.services.grid import Grid, Question, build
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import counting_session
from safe_clear_plugin.web.api.plan_urls import Address
from safe_clear_plugin.web.api.queries import GridQuery
from safe_clear_plugin.web.api.types import read_moment
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.app.unsupported import unsupported
from safe_clear_plugin.web.grid import labels
from safe_clear_plugin.web.grid.view import ColumnView, View


def read_question(query: GridQuery, *, live: bool) -> Question:
    """Return what part of the grid the query asks for."""
    return Question(
        level=query.grid,
        start=moment(query.start),
        end=moment(query.end),
        opened=frozenset(query.open or ()),
        first_row=query.first_row,
        first_column=query.first_column,
        live=live,
    )


def moment(text: str | None) -> datetime | None:
    """Read a date or a time, in UTC unless it says otherwise."""
    return read_moment(text, ZoneInfo("UTC"), end=False) if text else None


def view(
    plan: PlanSummary,
    query: GridQuery,
    session: Session,
    *,
    live: bool,
    tasks: Collection[str] | None = None,
    restorable: bool = False,
) -> View | None:
    """Return the grid that the query asks for, of ``tasks`` as ``build`` takes them.

    With ``restorable``, the task instances that an undo would put back now are marked.

    ``None`` when there is nothing to draw, or Airflow's tables are not known.
    """
    found = unsupported()
    if found and not found.has_known_tables:
        return None
    question = replace(read_question(query, live=live), restorable=restorable)
    grid = build(plan, question, session, tasks=tasks)
    if grid is None:
        return None
    address, unit = Address(plan.id, query.args()), labels.head_unit(grid)
    most = grid_columns.MAX_RUNS if grid.level == "run" else grid_columns.MAX_BINS
    return View(
        grid=grid,
        density=labels.density(grid),
        heads=list(labels.heads(grid, unit, address)),
        columns=_columns(grid, unit, address, live=live),
        bands=list(labels.bands(grid.columns)),
        levels=_levels(grid, address),
        title=labels.window_title(grid) if grid.zoomed else "",
        whole_href=address.grid(),
        row_page=Page(grid.all_rows, question.first_row, len(grid.rows)),
        column_page=Page(grid.all_columns, question.first_column, most),
        address=address,
        kinds=[kind for kind in KINDS if any(row.of(kind) for row in grid.rows)],
        fragment_url=templating.url("undo_grid" if restorable else "grid", plan_id=plan.id),
        filters=not live,
    )


def _columns(grid: Grid, unit: Unit | None, address: Address, *, live: bool) -> list[ColumnView]:
    """Return the columns; with ``live`` there is no table of planned rows that they would filter."""
    columns = [labels.column_view(one, grid, unit, address) for one in grid.columns]
    if live:
        return [replace(one, filter="", href="" if one.column.run_id else one.href) for one in columns]
    return columns


def _levels(grid: Grid, address: Address) -> list[tuple[str, str, bool]]:
    """Return name and address of each level, and whether it is the one that is shown."""
    window = labels.window_query(grid)
    return [
        (labels.level_name(level, grid), address.grid(grid=level, **window), level == grid.level)
        for level in grid.levels
    ]


def page(plan: PlanSummary, query: GridQuery, session: Session) -> str:
    """Render the grid alone, for a page that puts it in place of the one it has."""
    availability.require_known_tables()
    live = plan.status not in ("ready", "stale")
    return templating.render("_grid.html", view=view(plan, query, session, live=live), plan=plan)


def undo_view(plan: PlanSummary, query: GridQuery) -> View | None:
    """Return the grid of an undo; ``None`` if its counts take too long."""
    try:
        with counting_session() as session:
            return view(plan, query, session, live=True, restorable=True)
    except TookTooLong:
        return None


def undo_page(plan: PlanSummary, query: GridQuery) -> str:
    """Render the grid of an undo alone."""
    availability.require_known_tables()
    return templating.render("_grid.html", view=undo_view(plan, query), plan=plan)
