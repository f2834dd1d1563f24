"""Gathers what the pages of a plan show."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.confirmation_summary import PlanExtent
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection_tokens import selection_tokens
from safe_clear_plugin.core.webhook_text import EVENTS
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.change_sets.waiting import offer_waiting
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.services.planning.derived_plans import can_plan_remaining
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.services.webhook.undelivered import undelivered
from safe_clear_plugin.web.api.queries import PlanQuery
from safe_clear_plugin.web.app import date_ruler, links, templating
from safe_clear_plugin.web.app.authorization import missing_rights, redact
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.history import history_links, history_page
from safe_clear_plugin.web.plan import finding_page, table_page
from safe_clear_plugin.web.plan.completion_estimate import likely_done
from safe_clear_plugin.web.plan.confirm_page import (
    NOT_REJECTED,
    RejectedConfirmation,
    confirm_context,
    declined_page,
)
from safe_clear_plugin.web.plan.membership import membership
from safe_clear_plugin.web.plan.switches import switches_of
from safe_clear_plugin.web.receipt import receipt_page

NOTHING_ASKED = PlanQuery.model_validate({})


def plan_page(
    plan: PlanSummary,
    query: PlanQuery,
    *,
    may_clear: bool,
    session: Session,
    attempt: RejectedConfirmation = NOT_REJECTED,
) -> str:
    """Render the page that fits the plan's status."""
    plan = redact(plan, session)
    may_clear = may_clear and unsupported() is None
    now = utcnow()
    selection, on_latest = plan.selection, plan.run_on_latest_version
    label = plans.map_index_label(plan, session)
    context = {
        "plan": plan,
        "tokens": selection_tokens(selection, on_latest=on_latest, label=label),
        "change_url": templating.url("select", plan=plan.id),
        "plan_url": partial(templating.url, "plan"),
        "plan_link": links.absolute_url(templating.url("plan", plan_id=plan.id)),
        "here": templating.NavState("", plan.dag_id),
        "needed": "" if may_clear else missing_rights(plan.dag_id),
        "undelivered": undelivered(plan, session),
        "event_labels": EVENTS,
        "member_of": membership(plan, session),
    }
    if plan.status == "ready":
        return _ready(plan, query, now, session, {**context, "may_clear": may_clear, "attempt": attempt})
    if plan.status == "declined":
        return declined_page(plan, {**context, "may_clear": may_clear})
    if plan.status == "stale":
        return _stale(plan, session, {**context, "may_clear": may_clear})
    context["query"] = query
    return receipt_page.confirmed_page(plan, context, now, may_clear=may_clear, session=session)


def changed_page(plan_id: str, attempt: RejectedConfirmation = NOT_REJECTED) -> str:
    """Render the page of a plan as it is after a request that was refused, for a caller who may clear."""
    plan = plans.get_plan(plan_id)
    with new_session() as session:
        return plan_page(plan, NOTHING_ASKED, may_clear=True, session=session, attempt=attempt)


def _stale(plan: PlanSummary, session: Session, context: dict[str, Any]) -> str:
    why = plan.stop_reason
    return templating.render(
        "stale.html",
        headline=plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs),
        moved=why.moved if why else (),
        moved_total=why.total if why else 0,
        moved_runs=why.moved_runs if why else 0,
        cause=why.remedy if why else "",
        may_take_rest=can_plan_remaining(plan),
        others=rerun_progress.conflicting_clears(plan, session),
        logged=history_page.airflows_clears(plan, session),
        **context,
    )


def _ready(
    plan: PlanSummary, query: PlanQuery, now: datetime, session: Session, context: dict[str, Any]
) -> str:
    extent, tasks = plans.extent(plan, session), plans.tasks(plan, session)
    context |= confirm_context(
        plan, extent, tasks, context["attempt"], may_clear=context["may_clear"], now=now, session=session
    )
    role, expired = context["confirming"].role, plan.is_expired(now)
    tickable = context["may_clear"] and not expired
    return templating.render(
        "plan.html",
        switches=switches_of(plan, role),
        waiting=offer_waiting(plan, tasks, role, caller().user),
        checklist=finding_page.checklist(context["plan"]),
        view=grid_page.view(plan, query, session, live=False, tasks=[task.task_id for task in tasks]),
        table=table_page.table(plan, query, extent.changes, tasks, session, tickable=tickable),
        expired=expired,
        minutes_left=max(0, int((plan.expires_at - now).total_seconds() // 60)),
        **_overview(plan, extent, now, session),
        **context,
    )


def _overview(plan: PlanSummary, extent: PlanExtent, now: datetime, session: Session) -> dict[str, Any]:
    """Return the totals, dates and outcomes at the top of the page of a ready plan, for the template."""
    return {
        "headline": plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs),
        "likely": likely_done(plan, now),
        "cleared": history_links.line_of_plan(plan),
        "changes": extent.changes,
        "run_changes": extent.run_changes,
        "run_outcomes": plans.run_outcomes(plan, session),
        "first_run": extent.first,
        "last_run": extent.last,
        "ruler": _ruler(plan, extent, now, session),
    }


def _ruler(plan: PlanSummary, extent: PlanExtent, now: datetime, session: Session) -> list[date_ruler.Day]:
    if extent.first is None or extent.last is None:
        return []
    shown = date_ruler.ruler_days(extent.first, extent.last, now)
    return date_ruler.day_ruler(shown, plans.days_with_runs(plan, shown, session), now)
