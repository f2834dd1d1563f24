"""The page of a plan that has been confirmed: its progress while it is under way, its receipt after that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.services.planning.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import summarize_undo
from safe_clear_plugin.storage.plans import plan_list, plan_reader
from safe_clear_plugin.storage.plans.plan_list import Batch
from safe_clear_plugin.storage.undo import not_restored
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.receipt.undo_page import LISTED, StayGroup, stay_groups

RUN_LINKS = 50
BATCHES = 50
HOPELESS = ("drift", "mismatch", "upgraded")
"""Why a plan stopped that would only stop there again."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a clear or an undo has come; ``mine`` says whether the caller is who applies the plan."""

    kind: str
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    by_name: str = ""
    since: datetime | None = None
    mine: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a plan ended, in words."""

    look: str
    icon: str
    tag: str
    title: str
    at: datetime | None
    by_name: str | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be done with a plan that is not under way."""

    resume: bool
    rest: bool
    undo: bool

    def __bool__(self) -> bool:
        return self.resume or self.rest or self.undo


@dataclass(frozen=True, slots=True)
class Undoable:
    """What of a clear can still be undone, and how much has started or stays for other reasons."""

    put_back: int
    started: int
    other_stays: int
    nothing: str
    """Why nothing can be put back, or why that is not known."""
    is_counted: bool = True


def confirmed_page(
    plan: PlanSummary, context: dict[str, Any], now: datetime, *, may_clear: bool, session: Session
) -> str:
    """Render the progress of what is under way, else the receipt."""
    context = {**context, "may_clear": may_clear}
    goes_on = rerun_progress.goes_on(plan, now)
    if goes_on or plan.undoing:
        return templating.render("progress.html", step=step_of(plan, session), **context)
    return _receipt_page(plan, context, now, session)


def clear_step(plan: PlanSummary) -> Step:
    """Return how far the clear has come."""
    return Step(
        kind="apply",
        done=plan.cleared,
        total=plan.task_instances,
        dag_runs_done=plan.cleared_runs,
        dag_runs_total=plan.dag_runs,
        by_name=plan.applied_by_name or "",
        since=plan.applied_at,
        mine=plan.applied_by == caller().id,
        reason=plan.reason,
    )


def undo_step(plan: PlanSummary, session: Session) -> Step:
    """Return how far the undo has come, counted in task instances that it put back or left."""
    undos = [batch for batch in plan_list.batches(UUID(plan.id), session) if batch.kind == "undo"]
    return Step(
        kind="undo",
        done=plan.put_back + plan.stayed,
        total=not_restored.count_requested(UUID(plan.id), session),
        dag_runs_done=plan.undone_runs,
        dag_runs_total=plan.undo_asked_runs,
        by_name=undos[-1].by_name if undos else "",
        since=undos[-1].at if undos else None,
        reason=undos[-1].reason if undos else "",
    )


def step_of(plan: PlanSummary, session: Session) -> Step:
    """Return how far that has come which is under way."""
    return undo_step(plan, session) if plan.undoing else clear_step(plan)


def _receipt_page(plan: PlanSummary, context: dict[str, Any], now: datetime, session: Session) -> str:
    plan_id = UUID(plan.id)
    undo = count_undoable(plan, now)
    batches = plan_list.batches(plan_id, session)
    # They are cleared in the order in which they are read.
    runs = [run for run in plan_reader.runs(plan_id, session, limit=RUN_LINKS) if run.applied_at]
    return templating.render(
        "result.html",
        receipt=receipt_of(plan, batches),
        choices=choices(plan, undo),
        undo=undo,
        moved_runs=moved_runs(plan),
        others=rerun_progress.cleared_by(plan, session) if (plan.problem or {}).get("moved") else [],
        batches=batches[:BATCHES],
        batches_total=len(batches),
        stays=_stays(plan, session),
        progress=rerun_progress.progress(plan, now, session),
        run_links=[(run, _airflow_url(plan.dag_id, run.run_id)) for run in runs],
        run_links_total=plan.cleared_runs,
        dag_url=_airflow_url(plan.dag_id),
        view=grid_page.view(plan, context["query"], session, live=True),
        **context,
    )


def _stays(plan: PlanSummary, session: Session) -> list[StayGroup]:
    if not plan.stayed:
        return []
    plan_id = UUID(plan.id)
    return stay_groups(
        not_restored.count_not_restored(plan_id, session),
        not_restored.list_not_restored(plan_id, session, limit=LISTED),
    )


def receipt_of(plan: PlanSummary, batches: list[Batch]) -> Receipt:
    """Put how the plan ended into words."""
    if plan.undone:
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
    problem = plan.problem or {}
    if problem.get("kind") == "stopped":
        at = plan.finished_at or plan.applied_at
        return Receipt("warn", "stop", f"Stopped by {problem.get('by')}", title, at, None, note)
    tag = "Stopped: out of date" if problem.get("kind") == "drift" else "Stopped"
    return Receipt("bad", "refuse", tag, title, *by, note if plan.cleared else "")


def _undone(plan: PlanSummary, last: Batch | None) -> Receipt:
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


def choices(plan: PlanSummary, undo: Undoable) -> Choices:
    """Say what can be done with the plan now."""
    problem = plan.problem or {}
    open_ended = plan.status in ("stopped", "applying") and not plan.undo_asked_runs
    moved = problem.get("moved", [])
    return Choices(
        resume=open_ended and problem.get("kind") not in HOPELESS,
        rest=open_ended and bool(moved) and all(row.get("run_id") for row in moved),
        undo=bool(undo.put_back) or not undo.is_counted,
    )


def count_undoable(plan: PlanSummary, now: datetime) -> Undoable:
    """Count what an undo would put back; where that takes too long, the undo is offered all the same."""
    try:
        return _sum_up(summarize_undo(plan, now))
    except TookTooLong as late:
        return Undoable(0, 0, 0, late.problem.reason, is_counted=False)


def _sum_up(preview: UndoPreview) -> Undoable:
    started = sum(item.count for item in preview.counts if item.verdict == "started")
    nothing = preview.problem.reason if preview.problem else "all have started or changed"
    return Undoable(preview.put_back, started, preview.stay - started, nothing)


def moved_runs(plan: PlanSummary) -> int:
    """Count the dag runs that moved; 0 where only the first of what moved are known."""
    problem = plan.problem or {}
    moved = problem.get("moved", [])
    return len({row["run_id"] for row in moved}) if problem.get("total") == len(moved) else 0


def _airflow_url(dag_id: str, run_id: str | None = None) -> str:
    url = f"{config.base_url()}/dags/{quote(dag_id, safe='')}"
    return url if run_id is None else f"{url}/runs/{quote(run_id, safe='')}"
