"""Gathers what the pages of a plan show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import auth
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core import words
from safe_clear_plugin.core.diff import Moved
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import NO_STATE
from safe_clear_plugin.services import results
from safe_clear_plugin.storage import reading
from safe_clear_plugin.web import pages, receipt_pages, rendering
from safe_clear_plugin.web.forms import SelectionForm
from safe_clear_plugin.web.identity import caller
from safe_clear_plugin.web.paging import Page, number

ROWS = 100


@dataclass(frozen=True, slots=True)
class RunGroup:
    """A dag run with those of its rows that are on the page."""

    run: PlannedRun
    rows: list[PlannedTaskInstance]


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
    return pages.render(
        "select.html",
        form=form,
        dag_ids=dag_ids,
        problems=problems,
        error_count=count,
        here=pages.Here("select", form.dag_id.data or ""),
    )


def plan_page(plan: PlanSummary, args: Mapping[str, str], *, may_clear: bool, session: Session) -> str:
    """Render the page that fits the plan's status."""
    now = datetime.now(timezone.utc)
    context = {
        "plan": plan,
        "sentence": words.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "change_url": pages.url("select", plan=plan.id),
        "plan_url": partial(pages.url, "plan"),
        "here": pages.Here("", plan.dag_id),
    }
    if plan.status == "ready":
        return _ready(plan, args, now, session, {**context, "may_clear": may_clear})
    if plan.status == "stale":
        return _stale(plan, session, {**context, "may_clear": may_clear})
    return receipt_pages.confirmed_page(plan, context, now, may_clear=may_clear, session=session)


def moved_page(plan_id: str) -> str:
    """Render the page of a plan that has just turned out to have moved, for a caller who may clear."""
    with new_session() as session:
        plan = reading.get(UUID(plan_id), session)
        assert plan is not None
        return plan_page(plan, {}, may_clear=True, session=session)


def _stale(plan: PlanSummary, session: Session, context: dict[str, Any]) -> str:
    problem = plan.problem or {}
    moved = [Moved(**row) for row in problem.get("moved", [])]
    runs = receipt_pages.moved_runs(plan)
    return pages.render(
        "stale.html",
        headline=words.headline(plan.selection, plan.task_instances, plan.dag_runs),
        moved=moved,
        moved_total=problem.get("total", len(moved)),
        moved_runs=runs,
        may_take_rest=all(row.run_id for row in moved) and (not runs or runs < plan.dag_runs),
        others=results.cleared_by(plan, session),
        **context,
    )


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
