"""Gathers the values for the pages of a change set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy
from safe_clear_plugin.core.change_set_text import set_sentence
from safe_clear_plugin.core.change_set_turns import Turn, turns_of
from safe_clear_plugin.core.confirmation_summary import PlanExtent, span
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_tokens import SelectionToken, selection_tokens
from safe_clear_plugin.core.webhook_text import EVENTS
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.change_sets.driving import as_driven
from safe_clear_plugin.services.change_sets.stored import get_change_set, may_clear_all, without_hidden_dags
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.services.webhook.undelivered import undelivered
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.authorization import may_clear as may_clear_plan
from safe_clear_plugin.web.app.authorization import missing_rights, redact
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported
from safe_clear_plugin.web.change_sets import set_findings, set_receipt, waiting_page
from safe_clear_plugin.web.change_sets.set_confirm import RejectedSet, set_confirm_context
from safe_clear_plugin.web.change_sets.set_findings import LevelGroup, SetPoint
from safe_clear_plugin.web.change_sets.set_waves import set_waves_context
from safe_clear_plugin.web.change_sets.standing import standing, undo_totals

NOT_REJECTED = RejectedSet()
TURNS = {
    Turn.WAITING: ("Waits for its turn", "quiet"),
    Turn.CLEARING: ("Clearing", ""),
    Turn.CLEARED: ("Cleared", "ok"),
    Turn.STOPPED: ("Stopped", "warn"),
    Turn.NOT_CLEARED: ("Not cleared", "quiet"),
    Turn.UNDO_WAITING: ("Waits to be undone", "quiet"),
    Turn.UNDOING: ("Undoing", ""),
    Turn.UNDONE: ("Undone", "ok"),
}
"""The text for the turn of a plan on a page, and its look."""
NOT_CONFIRMED = (ShownStatus.READY, ShownStatus.WAITING, ShownStatus.EXPIRED)


@dataclass(frozen=True, slots=True)
class Section:
    """The part of the page about one of the set's DAGs."""

    plan: PlanSummary
    url: str
    dag_url: str
    """The DAG's page in Airflow."""
    extent: PlanExtent
    tasks: list[TouchedTask]
    when: str
    """The dates of its runs."""
    points: list[SetPoint]


def change_set_page(of: ChangeSet, session: Session, rejected: RejectedSet = NOT_REJECTED) -> str:
    """Render the page for the set's status, for a caller who may read all its DAGs."""
    now = utcnow()
    of = replace(
        without_hidden_dags(as_driven(of, session), caller().user, session),
        plans=tuple(redact(plan, session) for plan in of.plans),
    )
    may_clear = may_clear_all(of, caller().user) and unsupported() is None
    context = {
        "of": of,
        "standing": standing(of, now),
        "sentence": set_sentence(of, of.awaited_dag_id),
        "tokens": _tokens(of),
        "may_clear": may_clear,
        "needed": "" if may_clear else _missing_rights(of),
        "first": of.plans[0],
        "undelivered": undelivered(of.plans[0], session),
        "event_labels": EVENTS,
        "now": now,
    }
    shown = of.shown_status(now)
    if of.is_under_way:
        return _under_way(of, context, session)
    if shown in NOT_CONFIRMED:
        return _ready(of, rejected, context, now, session)
    if shown in (ShownStatus.STALE, ShownStatus.DECLINED):
        return _not_applied(of, context)
    return templating.render(
        "change_set_receipt.html", **set_receipt.receipt_context(of, now, session), **context
    )


def changed_page(set_id: str, rejected: RejectedSet = NOT_REJECTED) -> str:
    """Render the page of a set after a refused request, for a caller who may clear."""
    of = get_change_set(set_id)
    with new_session() as session:
        return change_set_page(of, session, rejected)


def _tokens(of: ChangeSet) -> tuple[SelectionToken, ...]:
    """Return the tokens of the selection in each of the set's DAGs; none where every DAG has its own."""
    if of.made_from["chosen_by"] == ChosenBy.WAITING:
        return ()
    return selection_tokens(
        Selection.from_json(of.made_from["selection"]), on_latest=of.run_on_latest_version
    )


def _missing_rights(of: ChangeSet) -> str:
    lacking = [plan.dag_id for plan in of.plans if not may_clear_plan(plan)]
    return missing_rights(lacking[0]) if lacking else ""


def _under_way(of: ChangeSet, context: dict[str, Any], session: Session) -> str:
    first = of.plans[0]
    clear = {
        "done": of.cleared,
        "total": of.task_instances,
        "dag_runs_done": of.cleared_runs,
        "dag_runs_total": of.dag_runs,
    }
    undoing = next((plan for plan in reversed(of.plans) if plan.is_undoing), None)
    return templating.render(
        "change_set_progress.html",
        undo=undoing is not None,
        step=undo_totals(of, session) if undoing else clear,
        since=None if undoing else of.applied_at or first.applied_at,
        by_name=(undoing.requester.name if undoing else of.applied_by_name) or "",
        rows=list(zip(of.plans, turns_of(of.plans), strict=True)),
        turns=TURNS,
        **set_waves_context(of, session),
        **context,
    )


def _ready(
    of: ChangeSet, rejected: RejectedSet, context: dict[str, Any], now: datetime, session: Session
) -> str:
    confirming = set_confirm_context(of, rejected, may_clear=context["may_clear"], now=now, session=session)
    of = set_findings.with_refusals(of, confirming.required)
    groups = set_findings.grouped_findings(of)
    return templating.render(
        "change_set.html",
        **{**context, "of": of},
        confirming=confirming,
        groups=groups,
        findings_summary=set_findings.summary(groups),
        sections=[_section(plan, groups, session) for plan in of.plans],
        expired=of.shown_status(now) == ShownStatus.EXPIRED,
        minutes_left=max(0, int((of.expires_at - now).total_seconds() // 60)),
        is_of_waiting=of.made_from["chosen_by"] == ChosenBy.WAITING,
        times_url=waiting_page.form_url(of.made_from["plan"]) if of.left_out else "",
    )


def _section(plan: PlanSummary, groups: list[LevelGroup], session: Session) -> Section:
    extent = plans.extent(plan, session)
    return Section(
        plan=plan,
        url=templating.url("plan", plan_id=plan.id),
        dag_url=links.airflow_url("dags", plan.dag_id),
        extent=extent,
        tasks=[task for task in plans.tasks(plan, session) if task.cleared],
        when=span(extent.first, extent.last),
        points=set_findings.points_of(plan, groups),
    )


def _not_applied(of: ChangeSet, context: dict[str, Any]) -> str:
    stale = [plan for plan in of.plans if plan.status == PlanStatus.STALE]
    return templating.render(
        "change_set_not_applied.html",
        stale=stale,
        without=[("without", plan.dag_id) for plan in stale],
        **context,
    )
