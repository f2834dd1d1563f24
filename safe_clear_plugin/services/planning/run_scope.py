"""Which dag runs a selection covers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.selection.select_runs import Scope, anchor_runs
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.selection import Selection


def resolve_scope(selection: Selection, session: Session) -> Scope:
    """Turn run ids, dates, past and future into one range or one list of runs.

    Named runs and dates together mean the named runs within the dates. Past and future each drop a bound;
    with named runs the bounds that they start from are those runs' own dates.

    :raises Invalid: when a named run is not there, or is to be extended from but has no date
    """
    if not selection.run_id:
        return Scope(selection, *_bounds(selection), named=())
    anchors = {row.run_id: row.date for row in anchor_runs(selection, session)}
    if missing := [run_id for run_id in selection.run_id if run_id not in anchors]:
        raise Invalid(_unknown_runs(selection, missing))
    if not (selection.include_past or selection.include_future):
        return Scope(selection, selection.date_from, selection.date_to, named=selection.run_id)
    undated = [run_id for run_id, date in anchors.items() if date is None]
    if undated:
        raise Invalid(_undated_anchor(undated))
    dates = [date for date in anchors.values() if _within(date, selection)]
    if not dates:
        return Scope(selection, selection.date_from, selection.date_to, named=selection.run_id)
    around = replace(selection, date_from=min(dates), date_to=max(dates))
    return Scope(selection, *_bounds(around), named=())


def _bounds(selection: Selection) -> tuple[Any, Any]:
    return (
        None if selection.include_past else selection.date_from,
        None if selection.include_future else selection.date_to,
    )


def _within(date: Any, selection: Selection) -> bool:
    after = selection.date_from is None or date >= selection.date_from
    return after and (selection.date_to is None or date <= selection.date_to)


def _unknown_runs(selection: Selection, missing: list[str]) -> Problem:
    return Problem(
        f"{selection.dag_id} has no dag run {_shortened(missing)}.",
        "Copy the run id from the Dag's list of runs. A run belongs to one Dag.",
        "run_id",
    )


def _shortened(run_ids: list[str]) -> str:
    more = f" and {len(run_ids) - NAMES_SHOWN:,} more" if len(run_ids) > NAMES_SHOWN else ""
    return ", ".join(run_ids[:NAMES_SHOWN]) + more


def _undated_anchor(undated: list[str]) -> Problem:
    return Problem(
        f"{_shortened(undated)} has no logical date, so it has no past or future runs.",
        "Use run_after as the date field, or deselect past and future runs.",
        "date_field",
    )
