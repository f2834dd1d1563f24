"""The list of plans: what was planned, by whom, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus
from safe_clear_plugin.storage.plans import plan_list
from safe_clear_plugin.storage.plans.plan_list import PlanFilter
from safe_clear_plugin.web.api.queries import PlansQuery
from safe_clear_plugin.web.api.types import read_moment
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page

USUAL = "Running task instances are left out."
"""What nearly every selection says at its end, and a list need not repeat."""

STATUS_LABELS: dict[ShownStatus, str] = {
    "ready": "Ready",
    "waiting": "Waiting for approval",
    "expired": "Expired",
    "declined": "Declined or withdrawn",
    "applying": "Clearing",
    "stopped": "Stopped or partly applied",
    "stale": "Not applied: out of date",
    "applied": "Applied",
    "undone": "Undone",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan stands, in a word; ``extent`` says how far it got where that is not all."""

    look: str
    text: str
    extent: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One plan of the list."""

    plan: PlanSummary
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the plans that the caller may see."""

    dag_ids: list[str]
    """Those DAGs with plans that the caller may see."""
    plans: list[PlanSummary]
    page: Page
    complete: bool
    """Whether there was time to ask for every DAG that has plans; those with the newest plans come first."""


def listing(query: PlansQuery, now: datetime, session: Session) -> Listing:
    """Return the plans that the filters let through, of the DAGs that the caller may read."""
    planned = plan_list.planned_dags(session, query.dag_id or "")
    readable = permissions.readable_dags(planned, caller().user, session)
    utc = ZoneInfo("UTC")
    wanted = PlanFilter(
        dags=readable.dags,
        now=now,
        user=query.user or "",
        user_id=caller().id if query.mine else "",
        status=query.status or "",
        since=read_moment(query.date_from, utc, end=False) if query.date_from else None,
        until=read_moment(query.date_to, utc, end=True) if query.date_to else None,
    )
    total = plan_list.count_plans(wanted, session)
    page = Page(total, query.offset if query.offset < total else 0, query.limit)
    plans = plan_list.plans(wanted, session, offset=page.offset, limit=query.limit)
    dag_ids = sorted({dag.dag_id for dag in readable.dags})
    return Listing(dag_ids, plans, page, readable.complete)


def plans_page(query: PlansQuery, now: datetime, session: Session) -> str:
    """Render the list of plans."""
    found = listing(query, now, session)
    filters = query.model_dump(exclude={"offset", "limit"}, exclude_defaults=True)
    return templating.render(
        "plans.html",
        filters=query,
        query={**filters, "mine": "true"} if query.mine else filters,
        dag_ids=found.dag_ids,
        complete=found.complete,
        statuses=STATUS_LABELS,
        plans=[_row(plan, now) for plan in found.plans],
        page=found.page,
        here=templating.Here("plans", query.dag_id or ""),
        now=now,
    )


def _row(plan: PlanSummary, now: datetime) -> Row:
    sentence = plan_text.sentence(plan.selection, on_latest=plan.run_on_latest_version)
    return Row(plan, outcome(plan, now), sentence.removesuffix(" " + USUAL).removesuffix("."))


def _of_ready(plan: PlanSummary, now: datetime) -> Outcome:
    if plan.waiting(now):
        return Outcome("warn", "Waiting for approval")
    return Outcome("quiet", "Expired") if plan.expired(now) else Outcome("", "Ready")


def outcome(plan: PlanSummary, now: datetime) -> Outcome:
    """Say how the plan stands."""
    part = f"{plan.cleared:,} of {plan.task_instances:,} cleared"
    if plan.undo_asked_runs:
        text = "Undoing" if plan.undoing else f"Undone: {plan.put_back:,} of {plan.cleared:,}"
        return Outcome("quiet", text, part if plan.cleared < plan.task_instances else "")
    simple = {
        "ready": _of_ready(plan, now),
        "declined": Outcome("quiet", "Withdrawn")
        if plan.withdrawn
        else Outcome("bad", "Declined", f"by {plan.declined_by_name}"),
        "applied": Outcome("ok", "Applied"),
        "stale": Outcome("bad", "Not applied: out of date"),
    }
    if plan.status in simple:
        return simple[plan.status]
    if plan.status == "applying" and not plan.interrupted(now):
        return Outcome("", "Clearing", part)
    if (plan.problem or {}).get("kind") == "stopped" or not plan.cleared:
        return Outcome("warn", "Stopped", part)
    return Outcome("warn", "Partly applied", part)
