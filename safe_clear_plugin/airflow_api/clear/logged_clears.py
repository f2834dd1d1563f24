"""Clears with Airflow's own means: its audit log has each request, but not the result.

Airflow writes the row before it answers (``action_logging``, ``default_action_log``), so a clear that it
refuses is there too. The row does not name the task instances that Upstream, Downstream, Past and Future add.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import log
from safe_clear_plugin.airflow_api.platform.key_table import is_among
from safe_clear_plugin.core.history import ALL_DAGS, HistoryFilter, LoggedClear

TASK_INSTANCES = "post_clear_task_instances"
RUN = "clear_dag_run"
RUNS = "clear_dag_runs"
COMMAND = "cli_task_clear"
EVENTS = (TASK_INSTANCES, RUN, RUNS, COMMAND)
"""Events of the API's ``clearTaskInstances``, ``…/clear`` and ``clearDagRuns``, and the command's."""
WHOLE_RUNS = (RUN, RUNS)

BY_NAME = func.coalesce(log.c.owner_display_name, log.c.owner, "")
OPTIONS = (
    "start_date",
    "end_date",
    "only_failed",
    "only_running",
    "include_upstream",
    "include_downstream",
    "include_past",
    "include_future",
    "only_new",
    "full_command",
)
MAX_BULK = 500
"""The number of clears over several DAGs that are read, the latest first."""


def select_logged(wanted: HistoryFilter, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select rows of the audit log that are clears and that the filter lets through."""
    return select(*columns).select_from(log).where(*_conditions(wanted))


def clears(ids: Sequence[int], session: Session) -> dict[int, LoggedClear]:
    """Return the clears that these rows of the audit log hold, by id."""
    return {one.id: one for one in _read(select(log).where(is_among(log.c.id, ids)), session)}


def bulk_clears(
    since: datetime | None, until: datetime | None, session: Session, dag_id: str = ""
) -> list[LoggedClear]:
    """Return the last clears that name DAGs one by one; with a DAG id, only the clears that name this DAG."""
    query = select(log).where(*_is_clear(), *_between(since, until), log.c.dag_id == ALL_DAGS)
    if dag_id:
        query = query.where(_names(dag_id))
    return list(_read(query.order_by(log.c.id.desc()).limit(MAX_BULK), session))


def logged_dag_ids(session: Session) -> list[str]:
    """Return the ids of the DAGs that were cleared with Airflow's own means."""
    query = select(log.c.dag_id).where(*_is_clear(), log.c.dag_id.is_not(None), log.c.dag_id != ALL_DAGS)
    return sorted(session.scalars(query.distinct()))


def _conditions(wanted: HistoryFilter) -> Iterator[ColumnElement[bool]]:
    yield from _is_clear()
    yield from _between(wanted.since, wanted.until)
    yield or_(
        is_among(log.c.dag_id, (dag.dag_id for dag in wanted.logged_dags)),
        is_among(log.c.id, wanted.bulk_ids),
    )
    if wanted.user:
        yield BY_NAME.icontains(wanted.user, autoescape=True)
    if wanted.user_id:
        yield log.c.owner == wanted.user_name
    if wanted.run_id:
        yield or_(log.c.run_id == wanted.run_id, and_(log.c.event == RUNS, _names(wanted.run_id)))
    if wanted.task_id:
        yield _takes_task(wanted.task_id, wanted.map_index)


def _is_clear() -> tuple[ColumnElement[bool], ...]:
    # Airflow leaves dry runs out of the log only for the first two events.
    carried_out = or_(log.c.event != RUNS, _says('"dry_run": false'))
    return log.c.event.in_(EVENTS), carried_out


def _between(since: datetime | None, until: datetime | None) -> Iterator[ColumnElement[bool]]:
    if since:
        yield log.c.dttm >= since
    if until:
        yield log.c.dttm <= until


def _takes_task(task_id: str, map_index: int | None) -> ColumnElement[bool]:
    """Whether a clear names the task, or takes all tasks."""
    named = _names(task_id)
    if map_index is not None and map_index >= 0:
        of_one = f"[{json.dumps(task_id)}, "
        named = or_(_says(f"{of_one}{map_index}]"), and_(named, ~_says(of_one)))
    all_tasks = or_(~_says('"task_ids": '), _says('"task_ids": null'))
    of_instances = and_(log.c.event == TASK_INSTANCES, or_(named, all_tasks))
    return or_(log.c.event.in_(WHOLE_RUNS), of_instances, log.c.task_id == task_id)


def _names(name: str) -> ColumnElement[bool]:
    return _says(json.dumps(name))


def _says(text: str) -> ColumnElement[bool]:
    """Whether the row's JSON, which Airflow writes with ``json.dumps``, holds a text."""
    return log.c.extra.contains(text, autoescape=True)


def _read(query: Select[Any], session: Session) -> Iterator[LoggedClear]:
    for row in session.execute(query):
        said = _extra(row.extra)
        yield LoggedClear(
            id=row.id,
            at=row.dttm,
            event=row.event,
            dag_id=row.dag_id or "",
            by_name=row.owner_display_name or row.owner or "",
            run_ids=tuple(_run_ids(row, said)),
            task_ids=tuple(dict.fromkeys(_task_ids(row, said))),
            options={name: said[name] for name in OPTIONS if said.get(name)},
        )


def _extra(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _run_ids(row: Any, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if row.run_id:
        yield row.dag_id, row.run_id
    named = said.get("dag_runs")
    for one in named if isinstance(named, list) else ():
        if not isinstance(one, dict) or not isinstance(one.get("dag_run_id"), str):
            continue
        # A user who may see this DAG is not told about others that the request names.
        dag_id = one.get("dag_id") if row.dag_id == ALL_DAGS else row.dag_id
        if isinstance(dag_id, str):
            yield dag_id, one["dag_run_id"]


def _task_ids(row: Any, said: dict[str, Any]) -> Iterator[str]:
    if row.task_id:
        yield row.task_id
    named = said.get("task_ids")
    for one in named if isinstance(named, list) else ():
        task_id = one[0] if isinstance(one, list) and one else one
        if isinstance(task_id, str):
            yield task_id
