"""Dag runs of other DAGs that ``TriggerDagRunOperator`` asks for by their id or logical date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.sdk.timezone import coerce_datetime, parse
from jinja2 import Environment, TemplateError, nodes
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.outlets_and_triggers import NOT_SET, argument, is_templated
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.key_table import in_parts
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables

MAX_RUNS = 10_000
"""Dag runs of a plan whose triggered runs are looked up."""

NAMES = frozenset(("run_id", "logical_date", "ds", "ds_nodash", "ts", "ts_nodash"))
"""Names in a template whose values are known before the task runs."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A dag run in which task instances of a triggering task will run."""

    run_id: str
    logical_date: datetime | None
    instances: int


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose ``names`` stand at every second place of ``parts``."""

    parts: Sequence[str]

    def render(self, values: Mapping[str, object]) -> str | None:
        """Fill in the names; nothing if a run has no value for one, on which the task fails."""
        names = self.parts[1::2]
        if not all(name in values for name in names):
            return None
        return "".join(str(values[part]) if place % 2 else part for place, part in enumerate(self.parts))


@dataclass(frozen=True, slots=True)
class PinnedTrigger:
    """A task that triggers dag runs that its arguments identify."""

    task_id: str
    dag_id: str
    run_id: Template | None
    logical_date: Template | None
    skips: bool
    """Whether the task is skipped if the run exists (``skip_when_already_exists``)."""

    def keys(self, run: PlannedRun) -> set[str | datetime]:
        """Return the id and the logical date of the run that is triggered in a run, as far as given."""
        values = _context(run)
        run_id = self.run_id.render(values) if self.run_id else None
        date = _parse(self.logical_date.render(values)) if self.logical_date else None
        return {key for key in (run_id, date) if key is not None}


def pinned_triggers(tasks: Iterable[Any]) -> list[PinnedTrigger]:
    """Return the tasks whose dag runs are known before they run."""
    found = []
    for task in tasks:
        if "trigger_dag_id" not in task.template_fields:
            continue
        dag_id = argument(task, "trigger_dag_id")
        run_id, date = (_template(argument(task, name)) for name in ("trigger_run_id", "logical_date"))
        if isinstance(dag_id, str) and not is_templated(dag_id) and (run_id or date):
            skips = argument(task, "skip_when_already_exists") is True
            found.append(PinnedTrigger(task.task_id, dag_id, run_id, date, skips))
    return found


def planned_runs(
    plan: PlanTables, task_ids: Collection[str], session: Session
) -> Mapping[str, list[PlannedRun]]:
    """Return by task the runs in which it will run, as many as are looked up."""
    runs, rows = plan.runs, plan.task_instances
    query = (
        select(rows.c.task_id, rows.c.run_id, runs.c.logical_date, func.count().label("n"))
        .select_from(plan.joined())
        .where(*plan.is_to_run(), rows.c.task_id.in_(task_ids))
        .group_by(rows.c.task_id, rows.c.run_id, runs.c.logical_date)
        .order_by(rows.c.task_id, rows.c.run_id)
        .limit(MAX_RUNS)
    )
    found: dict[str, list[PlannedRun]] = {}
    for row in session.execute(query):
        found.setdefault(row.task_id, []).append(PlannedRun(row.run_id, row.logical_date, row.n))
    return found


def count_existing(trigger: PinnedTrigger, runs: Iterable[PlannedRun], session: Session) -> dict[str, int]:
    """Count, by dag run, the task instances whose triggered run exists or is created by an earlier one.

    Mirrors ``DagRun.find_duplicate`` and the unique key of a DAG's logical dates.
    """
    asked = [(run, keys) for run in runs if (keys := trigger.keys(run)) for _ in range(run.instances)]
    every: set[str | datetime] = set().union(*(keys for _, keys in asked))
    ids = [key for key in every if isinstance(key, str)]
    dates = [key for key in every if not isinstance(key, str)]
    taken = {*_existing(trigger.dag_id, dag_run.c.run_id, ids, session)}
    taken |= {*_existing(trigger.dag_id, dag_run.c.logical_date, dates, session)}
    found: Counter[str] = Counter()
    for run, keys in asked:
        if keys & taken:
            found[run.run_id] += 1
        taken |= keys
    return dict(found)


def _existing(dag_id: str, column: Any, values: Sequence[Any], session: Session) -> Iterable[Any]:
    for part in in_parts(sorted(values)):
        yield from session.scalars(select(column).where(dag_run.c.dag_id == dag_id, column.in_(part)))


def _template(value: Any) -> Template | None:
    """Take an argument apart, or return nothing if it is not given or only its run knows it."""
    if value in (None, NOT_SET):
        return None
    if not is_templated(str(value)):
        return Template((str(value),))
    try:
        parsed = Environment(autoescape=True).parse(str(value))
    except TemplateError:
        return None
    pieces = [piece for output in parsed.body for piece in getattr(output, "nodes", (output,))]
    parts = [""]
    for piece in pieces:
        if isinstance(piece, nodes.TemplateData):
            parts[-1] += piece.data
        elif isinstance(piece, nodes.Name) and piece.name in NAMES:
            parts += [piece.name, ""]
        else:
            return None
    return Template(tuple(parts))


def _context(run: PlannedRun) -> dict[str, object]:
    """Mirror ``RuntimeTaskInstance.get_template_context``: without a logical date most names are missing."""
    date = coerce_datetime(run.logical_date)
    if date is None:
        return {"run_id": run.run_id}
    day = date.strftime("%Y-%m-%d")
    return {
        "run_id": run.run_id,
        "logical_date": date,
        "ds": day,
        "ds_nodash": day.replace("-", ""),
        "ts": date.isoformat(),
        "ts_nodash": date.strftime("%Y%m%dT%H%M%S"),
    }


def _parse(text: str | None) -> datetime | None:
    try:
        found = parse(text) if text is not None else None
    except ValueError:
        # The task fails on it.
        return None
    # Of a text such as P1D comes a duration, on which the task fails too.
    return found if isinstance(found, datetime) else None
