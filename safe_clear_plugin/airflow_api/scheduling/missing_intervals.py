"""Schedule intervals that have no dag run, and the backfill that creates those runs."""

from __future__ import annotations

import logging
import shlex
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import get_dag_model
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.scheduling import partitions
from safe_clear_plugin.airflow_api.selection.select_runs import Scope

log = logging.getLogger(__name__)

MAX_INTERVALS = 2_000
"""Intervals that are checked."""
MAX_COVERING = 50_000
"""Other runs that are compared with them."""
MAX_SECONDS = 0.5
"""Time limit of the check: a timetable can be anybody's code."""


@dataclass(frozen=True, slots=True)
class MissingIntervals:
    """Schedule intervals in a range without a dag run, by logical date."""

    count: int
    first: datetime
    last: datetime
    at_least: bool
    """Whether the range has more intervals than were checked."""
    stretches: int
    """The number of uninterrupted sequences that they form."""
    command: str
    """The backfill that creates the runs; empty when the DAG allows none."""
    covers: int
    """The number of the runs that the command creates."""


def find_missing(dag: Any, scope: Scope, now: datetime, session: Session) -> MissingIntervals | None:
    """Return the intervals of the range that have no dag run; ``None`` when there is none, or no schedule.

    A timetable that raises an error has no intervals: a timetable can be custom code.

    Not counted: intervals before the start or after the end of the DAG, those that are not over yet, and
    those that the scheduler will still create a run for.
    """
    if not dag.timetable.periodic or partitions.is_partitioned(dag) or scope.selection.is_by_partition:
        return None
    try:
        infos, more = _infos_between(dag, scope, now)
    except Exception:
        log.info("The timetable of %s can't list its intervals.", dag.dag_id, exc_info=True)
        return None
    if not infos:
        return None
    dates = [info.logical_date for info in infos]
    missing, covered = _missing(dag, infos, session)
    if not missing:
        return None
    stretches = list(_neighbours(missing))
    # Where a task depends on the past, a backfill must be allowed to re-run existing runs, and it creates a
    # run for a date whose data another run has: then the command covers a stretch without any.
    chosen = stretches[0] if covered or _depends_on_past(dag) else missing
    return MissingIntervals(
        count=len(missing),
        first=_utc(dates[missing[0]]),
        last=_utc(dates[missing[-1]]),
        at_least=more,
        stretches=len(stretches),
        command=backfill_command(dag, dates[chosen[0]], dates[chosen[-1]]) if _may_backfill(dag) else "",
        covers=len(chosen),
    )


def _missing(dag: Any, infos: Sequence[Any], session: Session) -> tuple[list[int], set[datetime]]:
    """Return the positions of the intervals without a run, and the dates whose data another run has."""
    pending = _pending_from(dag, session)
    dates = [_utc(info.logical_date) for info in infos]
    taken = _dates_with_runs(dag.dag_id, [info.logical_date for info in infos], session)
    found = [
        position
        for position, info in enumerate(infos)
        if dates[position] not in taken and not (pending and pending(info.logical_date))
    ]
    covered = _covered(dag.dag_id, [infos[position] for position in found], session)
    return [position for position in found if dates[position] not in covered], covered


def backfill_command(dag: Any, first: datetime, last: datetime) -> str:
    """Return the command that creates the missing runs, quoted for a shell."""
    words = [
        *("airflow", "backfill", "create", f"--dag-id={dag.dag_id}"),
        *("--from-date", _utc(first).isoformat(), "--to-date", _utc(last).isoformat()),
    ]
    if _depends_on_past(dag):
        words += ["--reprocess-behavior", "failed"]
    return shlex.join(words)


def _infos_between(dag: Any, scope: Scope, now: datetime) -> tuple[list[Any], bool]:
    """Return the intervals of the range, the first ones if there are many, and whether there are more."""
    bounds = dag._time_restriction
    earliest = max(filter(None, (scope.date_from, bounds.earliest)), default=None)
    latest = min(filter(None, (scope.date_to, bounds.latest, now)))
    if earliest is None or earliest > latest:
        return [], False
    if scope.selection.date_field == "run_after":
        # A run is due after its logical date, by an interval.
        earliest = max(filter(None, (earliest - _length(dag, earliest, now), bounds.earliest)))
    return _first_of(dag.iter_dagrun_infos_between(earliest, latest), scope, now)


def _first_of(infos: Iterable[Any], scope: Scope, now: datetime) -> tuple[list[Any], bool]:
    start, end = scope.date_from, scope.date_to
    found: list[Any] = []
    stop = time.monotonic() + MAX_SECONDS
    for seen, info in enumerate(infos):
        if seen >= MAX_INTERVALS or time.monotonic() > stop:
            return found, True
        date = getattr(info, scope.selection.date_field)
        # A backfill omits an interval that is not over, too.
        over = info.data_interval is not None and info.data_interval.end < now
        if over and (start is None or date >= start) and (end is None or date <= end):
            found.append(info)
    return found, False


def _length(dag: Any, around: datetime, now: datetime) -> timedelta:
    info = next(iter(dag.iter_dagrun_infos_between(around, now + timedelta(days=366))), None)
    if info is None or info.data_interval is None:
        return timedelta()
    after: timedelta = info.run_after - info.logical_date
    interval: timedelta = info.data_interval.end - info.data_interval.start
    return max(after, interval)


def _pending_from(dag: Any, session: Session) -> Any:
    """Return a function of an interval's date: whether the scheduler will create its run."""
    model = get_dag_model(dag.dag_id, session)
    if model is None or model.is_paused or model.is_stale or model.next_dagrun is None:
        return None
    upcoming: datetime = model.next_dagrun
    if dag.catchup:
        return lambda date: date >= upcoming
    return lambda date: date == upcoming


def _dates_with_runs(dag_id: str, dates: Sequence[datetime], session: Session) -> set[datetime]:
    query = select(dag_run.c.logical_date).where(
        dag_run.c.dag_id == dag_id, dag_run.c.logical_date.in_(dates)
    )
    return {_utc(date) for date in session.scalars(query)}


def _covered(dag_id: str, infos: Sequence[Any], session: Session) -> set[datetime]:
    """Return the dates whose data another run has: it was created by hand, or by an earlier timetable.

    Such a run's data interval contains the date, or it was due at the same time.
    """
    if not infos:
        return set()
    starts = sorted(_utc(info.logical_date) for info in infos)
    by_due = {_utc(info.run_after): _utc(info.logical_date) for info in infos}
    start, end = dag_run.c.data_interval_start, dag_run.c.data_interval_end
    query = select(start, end, dag_run.c.run_after).where(
        dag_run.c.dag_id == dag_id,
        or_(and_(start <= starts[-1], end > starts[0]), dag_run.c.run_after.in_(sorted(by_due))),
    )
    runs = session.execute(query.distinct().limit(MAX_COVERING)).all()
    spans = [(_utc(first), _utc(last)) for first, last, _ in runs if first is not None and last is not None]
    due = {by_due[_utc(run.run_after)] for run in runs if _utc(run.run_after) in by_due}
    return due | set(within(starts, spans))


def within(moments: Sequence[datetime], spans: Iterable[tuple[datetime, datetime]]) -> Iterator[datetime]:
    """Yield the sorted moments that lie in one of the spans. The ends of the spans are exclusive."""
    steps = [0] * (len(moments) + 1)
    for first, last in spans:
        begin, end = bisect_left(moments, first), bisect_left(moments, last)
        if begin < end:
            steps[begin] += 1
            steps[end] -= 1
    yield from (moment for moment, around in zip(moments, accumulate(steps), strict=False) if around)


def _neighbours(positions: Sequence[int]) -> Iterator[list[int]]:
    row: list[int] = []
    for position in positions:
        if row and position != row[-1] + 1:
            yield row
            row = []
        row.append(position)
    yield row


def _depends_on_past(dag: Any) -> bool:
    return any(task.depends_on_past for task in dag.tasks)


def _may_backfill(dag: Any) -> bool:
    allowed = getattr(dag, "allowed_run_types", None)
    return allowed is None or "backfill" in [str(getattr(kind, "value", kind)) for kind in allowed]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)
