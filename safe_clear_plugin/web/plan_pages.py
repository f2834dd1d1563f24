"""Gathers what the pages of a plan show."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import rights
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core import words
from safe_clear_plugin.core.diff import Moved
from safe_clear_plugin.core.order import Extent
from safe_clear_plugin.core.plan import PlannedRun, PlanSummary
from safe_clear_plugin.services import results
from safe_clear_plugin.services.taking import get_plan
from safe_clear_plugin.storage import reading, touched
from safe_clear_plugin.web import finding_pages, grid_pages, pages, receipt_pages, rendering, table_pages
from safe_clear_plugin.web.api.queries import PlanQuery
from safe_clear_plugin.web.confirm_pages import NO_ATTEMPT, Attempt, confirm_context, declined_page
from safe_clear_plugin.web.identity import caller
from safe_clear_plugin.web.likely import likely_done
from safe_clear_plugin.web.reader import for_reader
from safe_clear_plugin.web.unsupported import unsupported

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
        "sentence": words.sentence(plan.selection, on_latest=plan.run_on_latest_version),
        "change_url": pages.url("select", plan=plan.id),
        "plan_url": partial(pages.url, "plan"),
        "here": pages.Here("", plan.dag_id),
        "needed": "" if may_clear else rights.to_clear(plan.dag_id, caller().user),
    }
    if plan.status == "ready":
        return _ready(plan, query, now, session, {**context, "may_clear": may_clear, "attempt": attempt})
    if plan.status == "declined":
        return declined_page(plan, {**context, "may_clear": may_clear})
    if plan.status == "stale":
        return _stale(plan, session, {**context, "may_clear": may_clear})
    context["query"] = query
    return receipt_pages.confirmed_page(plan, context, now, may_clear=may_clear, session=session)


def changed_page(plan_id: str, attempt: Attempt = NO_ATTEMPT) -> str:
    """Render the page of a plan as it is after a request that was refused, for a caller who may clear."""
    plan = get_plan(UUID(plan_id))
    with new_session() as session:
        return plan_page(plan, NOTHING_ASKED, may_clear=True, session=session, attempt=attempt)


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
    plan: PlanSummary, query: PlanQuery, now: datetime, session: Session, context: dict[str, Any]
) -> str:
    plan_id = UUID(plan.id)
    changes = reading.state_changes(plan_id, session)
    tasks = touched.tasks(plan_id, session)
    run_changes = reading.run_state_changes(plan_id, session)
    first, last = reading.first_and_last_run(plan_id, session)
    context |= confirm_context(
        plan,
        Extent(changes, run_changes, first, last),
        tasks,
        context["attempt"],
        may_clear=context["may_clear"],
        now=now,
        session=session,
    )
    return pages.render(
        "plan.html",
        likely=likely_done(plan, now),
        headline=words.headline(plan.selection, plan.task_instances, plan.dag_runs),
        changes=changes,
        run_changes=run_changes,
        first_run=first,
        last_run=last,
        ruler=_ruler(plan_id, first, last, now, session),
        checklist=finding_pages.checklist(context["plan"]),
        view=grid_pages.view(plan, query, session, live=False, tasks=[task.task_id for task in tasks]),
        table=table_pages.table(
            plan, query, changes, tasks, session, tickable=context["may_clear"] and not plan.expired(now)
        ),
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
