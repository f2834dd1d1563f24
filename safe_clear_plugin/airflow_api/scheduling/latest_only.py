"""In which runs a ``LatestOnlyOperator`` lets its downstream tasks run, and in which it skips them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pendulum
from airflow.timetables.base import DataInterval, TimeRestriction
from sqlalchemy import ColumnElement, FromClause, Select, and_, select

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run

log = logging.getLogger(__name__)

MANUAL = "manual"
"""The type of the runs in which the operator always goes on."""

MAX_SECONDS = 0.5
MAX_RUNS = 2_000
"""Number of runs that are checked, the newest first. One more is read, to know whether there are others."""
OLD_IN_A_ROW = 20
"""Once this many runs in a row are too old, all earlier ones are too old as well."""


@dataclass(slots=True)
class OldRuns:
    """The runs that are not the latest, as a condition that stays short."""

    runs_on: list[str] = field(default_factory=list)
    """The newest ones, in which it goes on."""
    skips: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Runs for which the timetable gives no answer."""
    rest_is_old: bool = False
    """Whether all runs that are in no list are old."""
    rest_is_open: bool = False
    """Whether the runs that are in no list have not been checked."""

    def __bool__(self) -> bool:
        return bool(self.skips)

    def includes(self, runs: FromClause) -> ColumnElement[bool]:
        """Whether a run of the plan is one of them."""
        if self.rest_is_old:
            return self._is_other(runs, (*self.runs_on, *self.open))
        return runs.c.run_id.in_(self.skips)

    @property
    def leaves_open(self) -> bool:
        """Whether it is unknown for some runs if they are old."""
        return bool(self.open) or self.rest_is_open

    def may_include(self, runs: FromClause) -> ColumnElement[bool]:
        """Whether it is unknown if a run of the plan is one of them."""
        if self.rest_is_open:
            return self._is_other(runs, (*self.runs_on, *self.skips))
        return runs.c.run_id.in_(self.open)

    def _is_other(self, runs: FromClause, known: Sequence[str]) -> ColumnElement[bool]:
        return and_(runs.c.run_id.not_in(known), runs.c.run_type != MANUAL)


def newest_runs(runs: FromClause, conditions: Iterable[ColumnElement[bool]]) -> Select[Any]:
    """Select the runs of a plan that a ``LatestOnlyOperator`` judges, the newest first."""
    live = dag_run
    return (
        select(runs.c.run_id, runs.c.uses_dag_version_id.label("version"), runs.c.run_type)
        .add_columns(live.c.logical_date, live.c.run_after)
        .add_columns(live.c.data_interval_start, live.c.data_interval_end)
        .select_from(runs.join(live, live.c.id == runs.c.dag_run_id))
        .where(*conditions, runs.c.run_type != MANUAL)
        .order_by(runs.c.run_after.desc(), runs.c.dag_run_id.desc())
        .limit(MAX_RUNS + 1)
    )


def old_runs(rows: Iterable[Any], versions: Mapping[UUID, Version], now: datetime) -> OldRuns:
    """Sort the runs into those in which the operator goes on and those in which it skips.

    ``rows`` are sorted, the newest first. Runs of a version without a DAG decide nothing. After
    ``MAX_SECONDS`` or ``MAX_RUNS`` the remaining runs are left open. So are runs whose timetable raises an
    error: a timetable can be custom code.
    """
    found = OldRuns()
    in_a_row = 0
    stop = time.monotonic() + MAX_SECONDS
    for seen, row in enumerate(rows, 1):
        if time.monotonic() > stop or seen > MAX_RUNS:
            found.rest_is_open = True
            break
        if (dag := versions[row.version].dag) is None:
            continue
        try:
            runs_on = goes_on(row, dag.timetable, now)
        except Exception:
            log.info("The timetable of %s can't date %s.", dag.dag_id, row.run_id, exc_info=True)
            found.open.append(row.run_id)
            continue
        (found.runs_on if runs_on else found.skips).append(row.run_id)
        in_a_row = 0 if runs_on else in_a_row + 1
        if in_a_row >= OLD_IN_A_ROW:
            found.rest_is_old = True
            break
    return found


def goes_on(run: Any, timetable: Any, now: datetime) -> bool:
    """Mirror ``LatestOnlyOperator.choose_branch``."""
    if run.run_type == MANUAL:
        return True
    window = _window(run, timetable)
    return window is None or window[0] < now <= window[1]


def _window(run: Any, timetable: Any) -> tuple[datetime, datetime] | None:
    """Mirror ``LatestOnlyOperator._get_compare_dates``: when the run is the latest; ``None`` for always."""
    date = run.logical_date or run.run_after
    interval = DataInterval(_utc(run.data_interval_start or date), _utc(run.data_interval_end or date))
    before = TimeRestriction(earliest=None, latest=interval.end - timedelta(microseconds=1), catchup=True)
    previous = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=before)
    left = previous.data_interval.end if previous and previous.data_interval else interval.start
    after = TimeRestriction(earliest=interval.end, latest=None, catchup=True)
    following = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=after)
    return (left, following.data_interval.end) if following and following.data_interval else None


def _utc(moment: datetime) -> Any:
    return pendulum.instance(moment.astimezone(timezone.utc))
