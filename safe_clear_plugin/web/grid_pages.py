"""The grid of a plan: what part of it the query asks for, gathered for the templates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import cast

from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.airflow_api import compatibility
from safe_clear_plugin.core.grid import KINDS, Level
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services.grid import MOST_BINS, MOST_RUNS, Question, build
from safe_clear_plugin.web import grid_labels, pages
from safe_clear_plugin.web.addresses import Address
from safe_clear_plugin.web.grid_view import View
from safe_clear_plugin.web.paging import Page, number
from safe_clear_plugin.web.unsupported import unsupported


def read_question(args: Mapping[str, str], *, live: bool) -> Question:
    """Read what part of the grid the query asks for; what makes no sense is as if it were not there."""
    level = args.get("grid", "")
    opened = args.getlist("open") if isinstance(args, MultiDict) else []
    return Question(
        level=cast(Level, level) if level in grid_labels.HEAD_UNITS else None,
        start=moment(args.get("from", "")),
        end=moment(args.get("to", "")),
        opened=frozenset(opened),
        first_row=number(args, "first_row", 0, 0, 2**31),
        first_column=number(args, "first_column", 0, 0, 2**31),
        live=live,
    )


def moment(text: str) -> datetime | None:
    """Read a date or a time, in UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def view(
    plan: PlanSummary,
    args: Mapping[str, str],
    session: Session,
    *,
    live: bool,
    tasks: Collection[str] | None = None,
) -> View | None:
    """Return the grid that the query asks for, of ``tasks`` as ``build`` takes them.

    ``None`` when there is nothing to draw, or Airflow's tables are not known.
    """
    found = unsupported()
    if found and not found.has_known_tables:
        return None
    question = read_question(args, live=live)
    grid = build(plan, question, session, tasks=tasks)
    if grid is None:
        return None
    address = Address(plan.id, args if isinstance(args, MultiDict) else MultiDict(args))
    unit = grid_labels.head_unit(grid)
    columns = [grid_labels.column_view(one, grid, unit, address) for one in grid.columns]
    if live:
        columns = [replace(one, filter="", href="" if one.column.run_id else one.href) for one in columns]
    most = MOST_RUNS if grid.level == "run" else MOST_BINS
    return View(
        grid=grid,
        density=grid_labels.density(grid),
        heads=list(grid_labels.heads(grid, unit, address)),
        columns=columns,
        bands=list(grid_labels.bands(grid.columns)),
        levels=[
            (
                grid_labels.level_name(level, grid),
                address.grid(grid=level, **grid_labels.window_query(grid)),
                level == grid.level,
            )
            for level in grid.levels
        ],
        title=grid_labels.window_title(grid) if grid.zoomed else "",
        whole_href=address.grid(),
        row_page=Page(grid.all_rows, question.first_row, len(grid.rows)),
        column_page=Page(grid.all_columns, question.first_column, most),
        address=address,
        kinds=[kind for kind in KINDS if any(row.of(kind) for row in grid.rows)],
        fragment_url=pages.url("grid", plan_id=plan.id),
        filters=not live,
    )


def page(plan: PlanSummary, args: Mapping[str, str], session: Session) -> str:
    """Render the grid alone, for a page that puts it in place of the one it has."""
    compatibility.require_known_tables()
    live = plan.status not in ("ready", "stale")
    return pages.render("_grid.html", view=view(plan, args, session, live=live), plan=plan)
