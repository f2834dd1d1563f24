"""The dag runs that a selection covers: its filters, and its dates as past and future widen them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.scheduling import partitions
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, anchor_runs, missing_partition_keys
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Invalid, NothingMatches, Problem
from safe_clear_plugin.core.selection import Selection


def knows_partition_dates() -> bool:
    """Whether this Airflow can select runs by a range of partition dates."""
    return partitions.HAS_PARTITION_DATES


def resolve_scope(selection: Selection, dag: Any, session: Session) -> Scope:
    """Turn run ids, dates, past and future into one range or one list of runs.

    Named runs and dates together mean the named runs within the dates. Past and future each drop a bound;
    with named runs the bounds that they start from are those runs' own dates. ``dag`` is the latest version,
    whose timetable reads partition dates.

    :raises Invalid: when a named run or partition is not there, a run is to be extended from but has no date,
        or this Airflow has no ranges of partition dates
    """
    start, end = _moments(selection, dag)
    _require_known_partitions(selection, session)
    if not selection.run_id:
        return Scope(selection, *_open(selection, start, end), named=())
    anchors = {row.run_id: row.date for row in anchor_runs(selection, session)}
    if missing := [run_id for run_id in selection.run_id if run_id not in anchors]:
        refuse = Invalid if anchors else NothingMatches
        raise refuse(_unknown_runs(selection, missing))
    if not (selection.include_past or selection.include_future):
        return Scope(selection, start, end, named=selection.run_id)
    undated = [run_id for run_id, date in anchors.items() if date is None]
    if undated:
        raise Invalid(_undated_anchor(selection, undated))
    dates = [date for date in anchors.values() if _within(date, start, end)]
    if not dates:
        return Scope(selection, start, end, named=selection.run_id)
    return Scope(selection, *_open(selection, min(dates), max(dates)), named=())


def _moments(selection: Selection, dag: Any) -> tuple[datetime | None, datetime | None]:
    """Return the bounds as moments: those of partition dates are read on the timetable's clock."""
    if not selection.is_by_partition_date:
        return selection.date_from, selection.date_to
    if not partitions.HAS_PARTITION_DATES:
        raise Invalid(_no_partition_dates())
    try:
        return (
            partitions.partition_moment(dag, selection.date_from) if selection.date_from else None,
            partitions.partition_moment(dag, selection.date_to) if selection.date_to else None,
        )
    except OverflowError:
        raise Invalid(
            Problem("A date is at the rim of the calendar.", "Choose one a day away.", "date_from")
        ) from None


def _open(selection: Selection, start: datetime | None, end: datetime | None) -> tuple[Any, Any]:
    return (None if selection.include_past else start, None if selection.include_future else end)


def _within(date: Any, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or date >= start) and (end is None or date <= end)


def _require_known_partitions(selection: Selection, session: Session) -> None:
    if selection.partition_key and (
        missing := missing_partition_keys(selection.dag_id, selection.partition_key, session)
    ):
        refuse = Invalid if len(missing) < len(selection.partition_key) else NothingMatches
        raise refuse(
            Problem(
                f"{selection.dag_id} has no dag run with partition key {_shortened(missing)}.",
                "Copy the partition key from a dag run: it must be the same to the letter.",
                "partition_key",
            )
        )


def _no_partition_dates() -> Problem:
    return Problem(
        "This Airflow can't select dag runs by a range of partition dates; Airflow 3.3 can.",
        "List partition keys, or use run_after as the date field.",
        "date_field",
    )


def _unknown_runs(selection: Selection, missing: list[str]) -> Problem:
    return Problem(
        f"{selection.dag_id} has no dag run {_shortened(missing)}.",
        "Copy the run id from the Dag's list of runs. A run belongs to one Dag.",
        "run_id",
    )


def _shortened(run_ids: list[str]) -> str:
    more = f" and {len(run_ids) - NAMES_SHOWN:,} more" if len(run_ids) > NAMES_SHOWN else ""
    return ", ".join(run_ids[:NAMES_SHOWN]) + more


def _undated_anchor(selection: Selection, undated: list[str]) -> Problem:
    date = selection.date_field.replace("_", " ")
    return Problem(
        f"{_shortened(undated)} has no {date}, so it has no past or future runs.",
        "Use run_after as the date field, or deselect past and future runs.",
        "date_field",
    )
