"""The page of a plan that has been confirmed: its progress, and then its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import formats, plan_text
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.plan_records import BatchRecord
from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.services import plans, receipt
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.history.outcomes import undone_label
from safe_clear_plugin.web.receipt.undo_page import LISTED, StayGroup, stay_groups
from safe_clear_plugin.web.waves.waves_part import waves_context

RUN_LINKS = 50
BATCHES = 50


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of a plan, in words."""

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
    """Render the progress of a clear or undo, or else the receipt."""
    context = {**context, "may_clear": may_clear}
    if plan.is_undoing or plan.status == PlanStatus.APPLYING:
        undoing = plan.is_undoing
        step = receipt.undo_progress(plan, session) if undoing else receipt.clear_progress(plan, caller().id)
        driver = rerun_progress.driver_state(plan, session)
        shown = waves_context(plan, session)
        return templating.render("progress.html", step=step, driver=driver, **shown, **context)
    return _receipt_page(plan, context, now, session)


def _receipt_page(plan: PlanSummary, context: dict[str, Any], now: datetime, session: Session) -> str:
    undo = receipt.count_undoable(plan, now)
    batches = plans.batches(plan, session)
    runs = plans.cleared_runs(plan, session, limit=RUN_LINKS)
    run_links = [(run, links.airflow_url("dags", plan.dag_id, "runs", run.run_id)) for run in runs]
    dag_url = links.airflow_url("dags", plan.dag_id)
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
        slipped=receipt.slipped_away(plan, session),
        not_taken_back=receipt.not_taken_back(plan, session) if plan.undone_runs else "",
        progress=rerun_progress.progress(plan, now, session),
        run_links=run_links,
        run_links_total=plan.cleared_runs,
        dag_url=dag_url,
        watch_url=run_links[0][1] if plan.cleared_runs == 1 else dag_url,
        view=grid_page.view(plan, context["query"], session, live=True),
        **waves_context(plan, session),
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
        f"{plan.cleared:,} of {formats.count(plan.task_instances, 'task instance')} "
        f"{'was' if plan.cleared == 1 else 'were'} cleared; "
        f"the other {rest:,} {'was' if rest == 1 else 'were'} not changed"
    )
    title = part if plan.cleared else "Nothing was cleared"
    note = (
        f"{plan.cleared_runs:,} of {formats.count(plan.dag_runs, 'run')} are cleared and verified."
        if plan.cleared
        else "Clearing ended before the first batch was done."
    )
    why = plan.stop_reason
    if why and why.kind == StopKind.INTERRUPTED:
        return Receipt("warn", "warn", "Interrupted", title, *by, note)
    if why and why.is_stop_by_person:
        at = plan.finished_at or plan.applied_at
        return Receipt("warn", "stop", f"Stopped by {why.by}", title, at, None, note)
    tag = "Stopped: out of date" if why and why.kind == StopKind.DRIFT else "Stopped"
    return Receipt("bad", "refuse", tag, title, *by, note if plan.cleared else "")


def _undone(plan: PlanSummary, last: BatchRecord | None) -> Receipt:
    whole = not plan.has_runs_to_undo
    of = formats.count(plan.cleared, "task instance")
    title = f"{plan.put_back:,} of {of} {'was' if plan.put_back == 1 else 'were'} restored"
    if not plan.put_back:
        title = f"None of {of} could be restored"
    elif plan.put_back == plan.cleared > 1:
        title = f"All {of} were restored"
    note = ""
    if not whole:
        runs = formats.count(plan.cleared_runs, "cleared run")
        note = f"{plan.undone_runs:,} of {runs} have been undone; the others stay cleared."
    css_class = "" if plan.put_back >= plan.cleared else "warn"
    return Receipt(
        css_class,
        "undo",
        undone_label(plan),
        title,
        last.at if last else plan.last_step_at,
        last.by_name if last else None,
        note,
    )
