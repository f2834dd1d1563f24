"""The page of a plan that has been confirmed: its progress while it is under way, its receipt after that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_records import BatchRecord
from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.clear import receipt, rerun_progress
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.receipt.undo_page import LISTED, StayGroup, stay_groups

RUN_LINKS = 50
BATCHES = 50


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a plan ended, in words."""

    css_class: str
    icon: str
    tag: str
    title: str
    at: datetime | None
    by_name: str | None
    note: str = ""


def confirmed_page(
    plan: PlanSummary, context: dict[str, Any], now: datetime, *, may_clear: bool, session: Session
) -> str:
    """Render the progress of what is under way, else the receipt."""
    context = {**context, "may_clear": may_clear}
    if plan.is_undoing:
        return templating.render("progress.html", step=receipt.undo_progress(plan, session), **context)
    if rerun_progress.is_in_progress(plan, now):
        return templating.render("progress.html", step=receipt.clear_progress(plan, caller().id), **context)
    return _receipt_page(plan, context, now, session)


def _receipt_page(plan: PlanSummary, context: dict[str, Any], now: datetime, session: Session) -> str:
    undo = receipt.count_undoable(plan, now)
    batches = plans.batches(plan, session)
    # They are cleared in the order in which they are read.
    runs = [run for run in plans.runs(plan, session, limit=RUN_LINKS) if run.applied_at]
    why = plan.stop_reason
    return templating.render(
        "result.html",
        receipt=describe_receipt(plan, batches),
        choices=receipt.allowed_actions(plan, undo),
        undo=undo,
        moved_runs=why.moved_runs if why else 0,
        others=rerun_progress.conflicting_clears(plan, session) if why and why.moved else [],
        batches=batches[:BATCHES],
        batches_total=len(batches),
        stays=_stays(plan, session),
        not_taken_back=receipt.not_taken_back(plan, session) if plan.undone_runs else "",
        progress=rerun_progress.progress(plan, now, session),
        run_links=[(run, links.airflow_url("dags", plan.dag_id, "runs", run.run_id)) for run in runs],
        run_links_total=plan.cleared_runs,
        dag_url=links.airflow_url("dags", plan.dag_id),
        view=grid_page.view(plan, context["query"], session, live=True),
        **context,
    )


def _stays(plan: PlanSummary, session: Session) -> list[StayGroup]:
    if not plan.stayed:
        return []
    return stay_groups(
        receipt.not_restored_counts(plan, session),
        receipt.not_restored_rows(plan, session, limit=LISTED),
    )


def describe_receipt(plan: PlanSummary, batches: list[BatchRecord]) -> Receipt:
    """Put how the plan ended into words."""
    if plan.is_undone:
        return _undone(plan, next((batch for batch in reversed(batches) if batch.kind == "undo"), None))
    by = plan.applied_at, plan.applied_by_name
    if plan.status == "applied":
        title = plan_text.headline(plan.selection, plan.cleared, plan.cleared_runs, done=True)
        return Receipt("ok", "check", "Cleared as planned", title, *by)
    rest = plan.task_instances - plan.cleared
    part = (
        f"{plan.cleared:,} of {plan_text.count(plan.task_instances, 'task instance')} "
        f"{'was' if plan.cleared == 1 else 'were'} cleared; "
        f"the other {rest:,} {'was' if rest == 1 else 'were'} not changed"
    )
    title = part if plan.cleared else "Nothing was cleared"
    note = (
        f"{plan.cleared_runs:,} of {plan_text.count(plan.dag_runs, 'run')} are cleared and verified."
        if plan.cleared
        else "Clearing was interrupted before the first batch was done."
    )
    if plan.status == "applying":
        left = f"Stopped at {plan.cleared:,} of {plan_text.count(plan.task_instances, 'task instance')}"
        note += " The page that sent the batches was closed, or the connection or the server failed."
        return Receipt("warn", "warn", "Interrupted", left if plan.cleared else title, *by, note)
    why = plan.stop_reason
    if why and why.is_stop_by_person:
        at = plan.finished_at or plan.applied_at
        return Receipt("warn", "stop", f"Stopped by {why.by}", title, at, None, note)
    tag = "Stopped: out of date" if why and why.kind == StopKind.DRIFT else "Stopped"
    return Receipt("bad", "refuse", tag, title, *by, note if plan.cleared else "")


def _undone(plan: PlanSummary, last: BatchRecord | None) -> Receipt:
    whole = plan.undone_runs >= plan.cleared_runs
    of = plan_text.count(plan.cleared, "task instance")
    title = f"{plan.put_back:,} of {of} {'was' if plan.put_back == 1 else 'were'} restored"
    if not plan.put_back:
        title = f"None of {of} could be restored"
    elif plan.put_back == plan.cleared > 1:
        title = f"All {of} were restored"
    note = ""
    if not whole:
        runs = plan_text.count(plan.cleared_runs, "cleared run")
        note = f"{plan.undone_runs:,} of {runs} have been undone; the others stay cleared."
    tag = "Undone" if whole else "Undone in part"
    return Receipt(
        "", "undo", tag, title, last.at if last else plan.last_step_at, last.by_name if last else None, note
    )
