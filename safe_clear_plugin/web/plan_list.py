"""The list of plans: what was planned, by whom, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus
from safe_clear_plugin.core.plan_filters import PlanFilter
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.plans import ListedPlans
from safe_clear_plugin.web.api.queries import PlansQuery
from safe_clear_plugin.web.api.types import read_moment
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page

STATUS_LABELS: dict[ShownStatus, str] = {
    ShownStatus.READY: "Ready",
    ShownStatus.WAITING: "Waiting for approval",
    ShownStatus.EXPIRED: "Expired",
    ShownStatus.DECLINED: "Declined or withdrawn",
    ShownStatus.APPLYING: "Clearing",
    ShownStatus.STOPPED: "Stopped or partly applied",
    ShownStatus.STALE: "Not applied: out of date",
    ShownStatus.APPLIED: "Applied",
    ShownStatus.UNDONE: "Undone",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan stands, in a word; ``extent`` says how far it got where that is not all."""

    look: str
    text: str
    extent: str = ""


@dataclass(frozen=True, slots=True)
class ListedPlan:
    """One plan of the list."""

    plan: PlanSummary
    outcome: Outcome
    sentence: str


def listed_plans(query: PlansQuery, now: datetime, session: Session) -> ListedPlans:
    """Return the plans that the query asks for, of the DAGs that the caller may read."""
    utc = ZoneInfo("UTC")
    wanted = PlanFilter(
        now=now,
        user=query.user or "",
        user_id=caller().id if query.mine else "",
        status=query.status or "",
        since=read_moment(query.date_from, utc, end=False) if query.date_from else None,
        until=read_moment(query.date_to, utc, end=True) if query.date_to else None,
    )
    return plans.list_plans(
        wanted, query.dag_id or "", caller().user, session, offset=query.offset, limit=query.limit
    )


def plans_page(query: PlansQuery, now: datetime, session: Session) -> str:
    """Render the list of plans."""
    found = listed_plans(query, now, session)
    filters = query.model_dump(exclude={"offset", "limit"}, exclude_defaults=True)
    return templating.render(
        "plans.html",
        filters=query,
        query={**filters, "mine": "true"} if query.mine else filters,
        dag_ids=found.dag_ids,
        complete=found.complete,
        statuses=STATUS_LABELS,
        plans=[_row(plan, now) for plan in found.plans],
        page=Page(found.total, found.offset, query.limit),
        here=templating.NavState("plans", query.dag_id or ""),
        now=now,
    )


def _row(plan: PlanSummary, now: datetime) -> ListedPlan:
    sentence = plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version, brief=True)
    return ListedPlan(plan, outcome(plan, now), sentence.removesuffix("."))


def outcome(plan: PlanSummary, now: datetime) -> Outcome:
    """Say how the plan stands."""
    part = f"{plan.cleared:,} of {plan.task_instances:,} cleared"
    if plan.undo_asked_runs:
        text = "Undoing" if plan.is_undoing else f"Undone: {plan.put_back:,} of {plan.cleared:,}"
        return Outcome("quiet", text, part if plan.cleared < plan.task_instances else "")
    status = plan.shown_status(now)
    if status == ShownStatus.STOPPED:
        is_stop = plan.stop_reason is not None and plan.stop_reason.is_stop_by_person
        return Outcome("warn", "Stopped" if is_stop or not plan.cleared else "Partly applied", part)
    if status == ShownStatus.DECLINED and not plan.is_withdrawn:
        return Outcome("bad", "Declined", f"by {plan.declined_by_name}")
    return {
        ShownStatus.READY: Outcome("", "Ready"),
        ShownStatus.WAITING: Outcome("warn", "Waiting for approval"),
        ShownStatus.EXPIRED: Outcome("quiet", "Expired"),
        ShownStatus.DECLINED: Outcome("quiet", "Withdrawn"),
        ShownStatus.APPLYING: Outcome("", "Clearing", part),
        ShownStatus.STALE: Outcome("bad", "Not applied: out of date"),
        ShownStatus.APPLIED: Outcome("ok", "Applied"),
        ShownStatus.UNDONE: Outcome("quiet", "Undone"),
    }[status]
