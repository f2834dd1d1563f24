"""Gathers what the pages of a plan show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import auth, settings
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core import words
from safe_clear_plugin.core.diff import Moved
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import NO_STATE
from safe_clear_plugin.services import results
from safe_clear_plugin.storage import reading
from safe_clear_plugin.web import pages, rendering
from safe_clear_plugin.web.forms import SelectionForm
from safe_clear_plugin.web.identity import caller

ROWS = 100
RUN_LINKS = 50


@dataclass(frozen=True, slots=True)
class RunGroup:
    """A dag run with those of its rows that are on the page."""

    run: PlannedRun
    rows: list[PlannedTaskInstance]


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of how many are shown; ``previous`` and ``next`` are offsets, or ``None`` at the ends."""

    total: int
    offset: int
    limit: int

    @property
    def previous(self) -> int | None:
        """Offset of the page before."""
        return max(0, self.offset - self.limit) if self.offset else None

    @property
    def next(self) -> int | None:
        """Offset of the page after."""
        return self.offset + self.limit if self.offset + self.limit < self.total else None


def number(args: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Read a whole number from the query, held within its bounds."""
    text = args.get(name, "")
    return (
        min(most, max(least, int(text))) if text.isascii() and text.isdigit() and len(text) < 12 else default
    )


def row_filter(args: Mapping[str, str]) -> reading.RowFilter:
    """Read the filter of a plan's rows from the query."""
    names = ("task", "run", "state", "effect", "why")
    return reading.RowFilter(**{name: args.get(name, "").replace("\x00", "").strip() for name in names})


def select_page(form: SelectionForm, problems: list[Problem] | None = None) -> str:
    """Render the form, with the DAGs that the caller may clear."""
    with new_session() as session:
        dag_ids = auth.clearable_dag_ids(caller().user, session)
    problems = problems or []
    count = sum(len(errors) for errors in form.errors.values()) + len(problems)
    return pages.render("select.html", form=form, dag_ids=dag_ids, problems=problems, error_count=count)


def plan_page(plan: PlanSummary, args: Mapping[str, str], *, may_clear: bool, session: Session) -> str:
    """Render the page that fits the plan's status."""
    now = datetime.now(timezone.utc)
    context = {
        "plan": plan,
        "sentence": words.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "change_url": pages.url("select", plan=plan.id),
    }
    if plan.status == "ready":
        return _ready(plan, args, now, session, {**context, "may_clear": may_clear})
    if plan.status == "stale":
        problem = plan.problem or {}
        headline = words.headline(plan.selection, plan.task_instances, plan.dag_runs)
        moved = [Moved(**row) for row in problem.get("moved", [])]
        total = problem.get("total", len(moved))
        return pages.render("stale.html", headline=headline, moved=moved, moved_total=total, **context)
    return _result(plan, now, session, context)


def _ready(
    plan: PlanSummary, args: Mapping[str, str], now: datetime, session: Session, context: dict[str, Any]
) -> str:
    plan_id, wanted = UUID(plan.id), row_filter(args)
    changes = reading.state_changes(plan_id, session)
    total = reading.count_task_instances(plan_id, wanted, session)
    offset = number(args, "offset", 0, 0, 2**31)
    page = Page(total, offset if offset < total else 0, ROWS)
    rows = reading.task_instances(plan_id, wanted, session, offset=page.offset, limit=page.limit)
    first, last = reading.first_and_last_run(plan_id, session)
    return pages.render(
        "plan.html",
        headline=words.headline(plan.selection, plan.task_instances, plan.dag_runs),
        changes=changes,
        run_changes=reading.run_state_changes(plan_id, session),
        first_run=first,
        last_run=last,
        ruler=_ruler(plan_id, first, last, now, session),
        runs=_grouped(plan_id, rows, session),
        page=page,
        filters=asdict(wanted),
        filter_states=sorted({change.before or NO_STATE for change in changes if change.effect != "create"}),
        filter_effects=sorted({change.effect for change in changes}),
        expired=plan.expired(now),
        minutes_left=max(0, int((plan.expires_at - now).total_seconds() // 60)),
        **context,
    )


def _ruler(
    plan_id: UUID, first: PlannedRun | None, last: PlannedRun | None, now: datetime, session: Session
) -> list[rendering.Day]:
    if first is None or last is None:
        return []
    shown = rendering.ruler_days(first, last, now)
    return rendering.day_ruler(shown, reading.days_with_runs(plan_id, shown, session), now)


def _grouped(plan_id: UUID, rows: list[PlannedTaskInstance], session: Session) -> list[RunGroup]:
    run_ids = list(dict.fromkeys(row.run_id for row in rows))
    by_id = {run.run_id: run for run in reading.runs(plan_id, session, run_ids=run_ids)}
    return [RunGroup(by_id[run_id], [row for row in rows if row.run_id == run_id]) for run_id in run_ids]


def _result(plan: PlanSummary, now: datetime, session: Session, context: dict[str, Any]) -> str:
    plan_id = UUID(plan.id)
    cleared, cleared_runs = reading.applied_totals(plan_id, session)
    all_runs = [run for run in reading.runs(plan_id, session) if run.applied_at]
    return pages.render(
        "result.html",
        headline=words.headline(plan.selection, cleared, cleared_runs, done=True),
        progress=results.progress(plan, now, session),
        run_links=[(run, _airflow_url(plan.dag_id, run.run_id)) for run in all_runs[:RUN_LINKS]],
        run_links_total=len(all_runs),
        dag_url=_airflow_url(plan.dag_id),
        cleared_runs=cleared_runs,
        cleared_task_instances=cleared,
        **context,
    )


def _airflow_url(dag_id: str, run_id: str | None = None) -> str:
    url = f"{settings.base_url()}/dags/{quote(dag_id, safe='')}"
    return url if run_id is None else f"{url}/runs/{quote(run_id, safe='')}"
