"""A line of the history: a plan, a change set, or a clear with Airflow's own means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safe_clear_plugin.core import formats, plan_text
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_text import set_sentence
from safe_clear_plugin.core.history import HistoryEntry, LoggedClear
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.regex import task_id_of
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.moments import when_days
from safe_clear_plugin.web.history.outcomes import (
    WITH_AIRFLOW,
    Outcome,
    outcome,
    set_outcome,
)

NAMED = 2
"""The number of tasks or runs that a line names; it only counts more of them."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the history on the page."""

    at: datetime
    url: str
    is_airflows: bool
    dag_id: str
    more_dags: int
    tasks: str
    runs: str
    task_instances: int | None
    dag_runs: int | None
    by_name: str
    outcome: Outcome
    sentence: str
    reason: str
    confirmed_by: str
    plan_id: str = ""
    set_url: str = ""
    """The page of its change set."""
    set_dags: str = ""
    """The DAGs of a change set, the first by name."""


def history_line(entry: HistoryEntry, now: datetime) -> Line:
    """Return the line of an entry of the history."""
    if entry.plan:
        return _plan_line(entry, entry.plan, now)
    if entry.change_set:
        return _set_line(entry, entry.change_set, now)
    assert entry.logged
    return logged_line(entry.logged)


def _set_line(entry: HistoryEntry, of: ChangeSet, now: datetime) -> Line:
    dag_ids = sorted(of.dag_ids)
    awaited = of.awaited_dag_id
    return _line_of(
        entry,
        of,
        url=templating.url("change_set", set_id=of.id),
        dag_id=formats.count(len(dag_ids), "Dag"),
        tasks=", ".join(dag_ids[:NAMED]) + (f" + {len(dag_ids) - NAMED:,}" if len(dag_ids) > NAMED else ""),
        outcome=set_outcome(of, now),
        # The caller may see the DAGs of the set. It is not known here whether they may see another DAG.
        sentence=set_sentence(of, awaited if awaited in dag_ids else "", brief=True),
        plan_id=of.plans[0].id,
        set_dags=", ".join(dag_ids),
    )


def _plan_line(entry: HistoryEntry, plan: PlanSummary, now: datetime) -> Line:
    return _line_of(
        entry,
        plan,
        url=templating.url("plan", plan_id=plan.id),
        dag_id=plan.dag_id,
        tasks=_tasks(plan),
        outcome=outcome(plan, now),
        sentence=plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version, brief=True),
        plan_id=plan.id,
        set_url=templating.url("change_set", set_id=plan.change_set_id) if plan.change_set_id else "",
    )


def _line_of(entry: HistoryEntry, of: PlanSummary | ChangeSet, **own: Any) -> Line:
    """Return the line of a plan or a change set; ``own`` has the fields in which they differ."""
    confirmed = of.applied_by_name if of.applied_by_name != of.created_by_name else ""
    return Line(
        at=entry.at,
        is_airflows=False,
        more_dags=0,
        runs=when_days(entry.first_run, entry.last_run) if entry.first_run and entry.last_run else "",
        task_instances=of.task_instances,
        dag_runs=of.dag_runs,
        by_name=of.applied_by_name or of.created_by_name,
        reason=of.reason,
        confirmed_by=f"Planned by {of.created_by_name}, confirmed by {confirmed}." if confirmed else "",
        **own,
    )


def _tasks(plan: PlanSummary) -> str:
    selection = plan.selection
    tasks = task_text(selection) or "all tasks"
    if selection.map_index is not None:
        tasks += f" [{selection.map_index}]"
    return tasks + "".join(
        f" + {word}"
        for word, asked in (
            ("upstream", selection.include_upstream),
            ("downstream", selection.include_downstream),
        )
        if asked
    )


def task_text(selection: Selection) -> str:
    """Return the only task of a selection, else its expression or some of the ids; empty for whole runs."""
    return one_task(selection) or selection.task_regex or _names(selection.task_ids, "task")


def one_task(selection: Selection) -> str:
    """Return the task id if a selection names only one, if need be by an expression such as ``^load$``."""
    if len(selection.task_ids) == 1 and not selection.task_regex:
        return selection.task_ids[0]
    return "" if selection.task_ids else task_id_of(selection.task_regex)


def logged_line(clear: LoggedClear) -> Line:
    """Return the line of a clear with Airflow's own means, as far as the audit log has it."""
    dag_id, *others = clear.dag_ids or [""]
    run_ids = [run_id for _, run_id in clear.run_ids]
    options = clear.options
    tasks = _names(clear.task_ids, "task") if clear.task_ids else "all tasks"
    for word in ("upstream", "downstream", "past", "future"):
        tasks += f" + {word}" if options.get(f"include_{word}") else ""
    runs = _names(run_ids, "run")
    if not runs and (options.get("start_date") or options.get("end_date")):
        runs = f"{options.get('start_date', '…')} to {options.get('end_date', '…')}"
    return Line(
        at=clear.at,
        url=links.airflow_url("dags", dag_id, "events"),
        is_airflows=True,
        dag_id=dag_id,
        more_dags=len(others),
        tasks=tasks + (", failed only" if options.get("only_failed") else ""),
        runs=runs,
        task_instances=None,
        dag_runs=len(run_ids) or None,
        by_name=clear.by_name,
        outcome=WITH_AIRFLOW,
        sentence="A clear with Airflow’s own UI, API or command. The audit log has the request but not "
        "the result.",
        reason=str(options.get("full_command", "")),
        confirmed_by="",
    )


def _names(names: Sequence[str], noun: str) -> str:
    return ", ".join(names) if len(names) <= NAMED else formats.count(len(names), noun)
