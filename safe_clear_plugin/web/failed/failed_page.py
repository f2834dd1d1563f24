"""The start page: failures in a time range, by DAG, each with a button for its preview."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.change_set import MAX_DAGS
from safe_clear_plugin.core.failed_dags import FailedDag, FailedDags, FailedFilter
from safe_clear_plugin.core.formats import span
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.states import FAILED_STATES, state_name
from safe_clear_plugin.services import failed_dags
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.web.api.failed_query import FailedQuery
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.app import links, moments, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.change_sets.refused_preview import RefusedPreview
from safe_clear_plugin.web.failed import sparkline
from safe_clear_plugin.web.failed.failed_json import preview_fields

WINDOWS = {
    "-1h": "Last hour",
    "-4h": "Last 4 hours",
    "-12h": "Last 12 hours",
    "-24h": "Last 24 hours",
    "-7d": "Last 7 days",
}
"""Windows that end now, by what one types for them."""
DEFAULT_WINDOW = "-24h"
MINUTE = timedelta(minutes=1)
STATES = {state: state_name(state) for state in FAILED_STATES} | {"failed_run": "A failed Dag run"}
FILTERS = ("from", "to", "timezone", "dag_id_regex", "tag", "owner", "state")


@dataclass(frozen=True, slots=True)
class Row:
    """A DAG of the page."""

    dag: FailedDag
    url: str
    """Of the DAG in Airflow."""
    runs_url: str
    """Of its dag runs in Airflow."""
    task_url: str
    """Of the first failed task instance in Airflow."""
    since: str
    """When it failed first, on the clock of the zone that was chosen."""
    week: sparkline.Sparkline
    preview: Mapping[str, str]
    """The fields of the form that previews it; empty where there is nothing that the caller may clear."""
    is_ticked: bool
    not_tickable: str
    """Why the row can't be ticked; empty if it can."""


@dataclass(frozen=True, slots=True)
class Said:
    """The window in words."""

    text: str
    in_utc: str
    length: str
    ended: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A window at one click."""

    label: str
    url: str
    is_chosen: bool


@dataclass
class Shown:
    """The typed filter, its problems, and the failures that were found."""

    typed: MultiDict[str, str]
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wanted: FailedFilter | None = None
    found: FailedDags | None = None
    problem: Problem | None = None
    """Why nothing was looked for."""

    @property
    def status(self) -> int:
        """The HTTP status of the page."""
        return 422 if self.errors else 503 if self.problem else 200


def failed_page(
    typed: MultiDict[str, str],
    query: FailedQuery | None,
    mistakes: Mistakes,
    now: datetime,
    refused: RefusedPreview | None = None,
) -> Any:
    """Render the page, also if values of the request are wrong; return it with its status.

    After a refused preview the same DAGs are ticked.
    """
    shown = _look(typed, query, mistakes, now)
    zone = query.timezone if query else "UTC"
    ticked = refused.ticked if refused else ()
    rows = _rows(shown, zone, ticked)
    page = templating.render(
        "failed.html",
        shown=shown,
        typed=typed,
        errors=shown.errors,
        filtered=any(typed.get(name) for name in FILTERS[3:]),
        chips=_chips(typed),
        states=STATES,
        said=_said(shown.wanted, ZoneInfo(zone), now) if shown.wanted else None,
        zone=zone,
        rows=rows,
        tags=sorted({tag for row in rows for tag in row.dag.tags}),
        owners=sorted({owner for row in rows for owner in row.dag.owners}),
        page=Page(shown.found.total, shown.found.offset, query.limit) if shown.found and query else None,
        query={name: typed.getlist(name) for name in FILTERS if typed.get(name)},
        may_preview=bool(shown.found and any(dag.may_clear for dag in shown.found.dags)),
        here=templating.NavState("start"),
        now=now,
        refused=refused,
        here_url=templating.url("failed", **typed.to_dict(flat=False)),
        most=MAX_DAGS,
    )
    return page, refused.status if refused else shown.status


def _look(typed: MultiDict[str, str], query: FailedQuery | None, mistakes: Mistakes, now: datetime) -> Shown:
    if query is None:
        return Shown(typed, mistakes.errors())
    try:
        wanted = query.filter(now)
        found = failed_dags.list_failed(wanted, caller().user, offset=query.offset, limit=query.limit)
    except Invalid as invalid:
        return Shown(typed, errors_of(invalid))
    except TookTooLong as late:
        return Shown(typed, wanted=wanted, problem=late.problem)
    return Shown(typed, wanted=wanted, found=found)


def errors_of(invalid: Invalid) -> dict[str, list[str]]:
    """Return the problems by field."""
    errors: dict[str, list[str]] = {}
    for problem in invalid.problems:
        errors.setdefault(problem.field or "", []).append(str(problem))
    return errors


def _rows(shown: Shown, zone: str, ticked: Collection[str]) -> list[Row]:
    if shown.found is None or shown.wanted is None:
        return []
    return [_row(dag, shown.wanted, zone, dag.dag_id in ticked) for dag in shown.found.dags]


def _row(dag: FailedDag, wanted: FailedFilter, zone: str, is_ticked: bool) -> Row:
    fields = preview_fields(dag.dag_id, wanted) if dag.can_preview else {}
    task = dag.first
    task_url = ""
    if task is not None:
        mapped = ("mapped", str(task.map_index)) if task.map_index >= 0 else ()
        task_url = links.airflow_url("dags", dag.dag_id, "runs", task.run_id, "tasks", task.task_id, *mapped)
    return Row(
        dag,
        url=links.airflow_url("dags", dag.dag_id),
        runs_url=links.airflow_url("dags", dag.dag_id, "runs") + "?state=failed",
        task_url=task_url,
        since=_moment(dag.since, wanted.until, ZoneInfo(zone)),
        week=sparkline.sparkline(dag.by_day, wanted.until),
        preview={name: str(value).lower() if value is True else str(value) for name, value in fields.items()},
        is_ticked=is_ticked and bool(fields),
        not_tickable="" if fields else "No task instance failed" if dag.may_clear else "You can’t clear it",
    )


def _chips(typed: MultiDict[str, str]) -> list[Chip]:
    kept = {name: typed.getlist(name) for name in FILTERS[2:] if typed.get(name)}
    chosen = "" if typed.get("to") else typed.get("from") or DEFAULT_WINDOW
    return [
        Chip(label, templating.url("failed", **{**kept, "from": start}), is_chosen=start == chosen)
        for start, label in WINDOWS.items()
    ]


def _said(wanted: FailedFilter, zone: ZoneInfo, now: datetime) -> Said:
    """Say the window on the clock of the zone in which it was typed, and what that is in UTC."""
    utc = ZoneInfo("UTC")
    return Said(
        f"{_span(wanted, zone)} {zone.key}",
        f"{_span(wanted, utc)} UTC" if _span(wanted, zone) != _span(wanted, utc) else "",
        span((wanted.until - wanted.since).total_seconds()),
        "" if abs(now - wanted.until) < MINUTE else moments.ago(wanted.until, now),
    )


def _span(wanted: FailedFilter, zone: ZoneInfo) -> str:
    since, until = wanted.since.astimezone(zone), wanted.until.astimezone(zone)
    year = "" if since.year == until.year else f" {since.year}"
    end = "" if since.date() == until.date() else f"{moments.day(until)} "
    return f"{moments.day(since)}{year} {since:%H:%M} to {end}{until:%H:%M}"


def _moment(moment: datetime, until: datetime, zone: ZoneInfo) -> str:
    """Write the time of day, with the day unless it is that on which the window ends."""
    local = moment.astimezone(zone)
    day = "" if local.date() == until.astimezone(zone).date() else f"{moments.day(local)} "
    return f"{day}{local:%H:%M}"
