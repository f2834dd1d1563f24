"""Gathers what the pages of a plan show."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import rights
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.confirmation_summary import Extent
from safe_clear_plugin.core.plan import PlannedRun, PlanSummary
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.services.clear.claim import get_plan
from safe_clear_plugin.storage.findings import task_counts
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.web.api.queries import PlanQuery
from safe_clear_plugin.web.app import template_filters, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.plan import finding_page, table_page
from safe_clear_plugin.web.plan.completion_estimate import likely_done
from safe_clear_plugin.web.plan.confirm_page import NO_ATTEMPT, Attempt, confirm_context, declined_page
from safe_clear_plugin.web.plan.redaction import for_reader
from safe_clear_plugin.web.receipt import receipt_page

NOTHING_ASKED = PlanQuery.model_validate({})


def plan_page(
    plan: PlanSummary,
    query: PlanQuery,
    *,
    may_clear: bool,
    session: Session,
    attempt: Attempt = NO_ATTEMPT,
) -> str:
    """Render the page that fits the plan's status."""
    plan = for_reader(plan, session)
    may_clear = may_clear and unsupported() is None
    now = datetime.now(timezone.utc)
    context = {
        "plan": plan,
        "sentence": plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "change_url": templating.url("select", plan=plan.id),
        "plan_url": partial(templating.url, "plan"),
        "here": templating.Here("", plan.dag_id),
        "needed": "" if may_clear else rights.to_clear(plan.dag_id, caller().user),
    }
    if plan.status == "ready":
        return _ready(plan, query, now, session, {**context, "may_clear": may_clear, "attempt": attempt})
    if plan.status == "declined":
        return declined_page(plan, {**context, "may_clear": may_clear})
    if plan.status == "stale":
        return _stale(plan, session, {**context, "may_clear": may_clear})
    context["query"] = query
    return receipt_page.confirmed_page(plan, context, now, may_clear=may_clear, session=session)


def changed_page(plan_id: str, attempt: Attempt = NO_ATTEMPT) -> str:
    """Render the page of a plan as it is after a request that was refused, for a caller who may clear."""
    plan = get_plan(UUID(plan_id))
    with new_session() as session:
        return plan_page(plan, NOTHING_ASKED, may_clear=True, session=session, attempt=attempt)


def _stale(plan: PlanSummary, session: Session, context: dict[str, Any]) -> str:
    problem = plan.problem or {}
    moved = problem.get("moved", [])
    runs = receipt_page.moved_runs(plan)
    return templating.render(
        "stale.html",
        headline=plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs),
        moved=moved,
        moved_total=problem.get("total", len(moved)),
        moved_runs=runs,
        may_take_rest=all(row["run_id"] for row in moved) and (not runs or runs < plan.dag_runs),
        others=rerun_progress.cleared_by(plan, session),
        **context,
    )


def _ready(
    plan: PlanSummary, query: PlanQuery, now: datetime, session: Session, context: dict[str, Any]
) -> str:
    plan_id = UUID(plan.id)
    changes = plan_reader.state_changes(plan_id, session)
    tasks = task_counts.tasks(plan_id, session)
    run_changes = plan_reader.run_state_changes(plan_id, session)
    first, last = plan_reader.first_and_last_run(plan_id, session)
    context |= confirm_context(
        plan,
        Extent(changes, run_changes, first, last),
        tasks,
        context["attempt"],
        may_clear=context["may_clear"],
        now=now,
        session=session,
    )
    return templating.render(
        "plan.html",
        likely=likely_done(plan, now),
        headline=plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs),
        changes=changes,
        run_changes=run_changes,
        first_run=first,
        last_run=last,
        ruler=_ruler(plan_id, first, last, now, session),
        checklist=finding_page.checklist(context["plan"]),
        view=grid_page.view(plan, query, session, live=False, tasks=[task.task_id for task in tasks]),
        table=table_page.table(
            plan, query, changes, tasks, session, tickable=context["may_clear"] and not plan.expired(now)
        ),
        expired=plan.expired(now),
        minutes_left=max(0, int((plan.expires_at - now).total_seconds() // 60)),
        **context,
    )


def _ruler(
    plan_id: UUID, first: PlannedRun | None, last: PlannedRun | None, now: datetime, session: Session
) -> list[template_filters.Day]:
    if first is None or last is None:
        return []
    shown = template_filters.ruler_days(first, last, now)
    return template_filters.day_ruler(shown, plan_reader.days_with_runs(plan_id, shown, session), now)
