"""The receipt of a change set: the result, Dag by Dag, and the next steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, ShownStatus
from safe_clear_plugin.core.stop_reason import NOT_RESUMABLE, StopKind
from safe_clear_plugin.services.change_sets.reruns import reruns_of, undoable_of
from safe_clear_plugin.services.receipt import UndoSummary
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.history.outcomes import Outcome, outcome
from safe_clear_plugin.web.receipt.receipt_page import Receipt


@dataclass(frozen=True, slots=True)
class Row:
    """The result of the plan of one DAG."""

    plan: PlanSummary
    outcome: Outcome
    url: str
    dag_url: str
    undo_url: str
    """The address of its undo's preview; empty if there is nothing to undo."""


@dataclass(frozen=True, slots=True)
class NextSteps:
    """The possible next steps with a set on which no work is in progress."""

    go_on: bool
    without: tuple[str, ...]
    """The DAGs that would only stop again."""
    undo: bool
    preview_rest: bool

    def __bool__(self) -> bool:
        return self.go_on or self.undo or self.preview_rest


def receipt_context(of: ChangeSet, now: datetime, session: Session) -> dict[str, Any]:
    """Return the values for the receipt's template."""
    undoable = undoable_of(of, now)
    left = [plan for plan in of.plans if plan.has_runs_to_undo]
    return {
        "receipt": describe(of, now),
        "rows": [_row(plan, undoable.get(plan.dag_id), now) for plan in of.plans],
        "can_undo": sum(one.put_back for one in undoable.values()),
        "is_counted": len(undoable) == len(left) and all(one.is_counted for one in undoable.values()),
        "steps": _steps(of, undoable, now),
        "reruns": reruns_of(of, now, session),
        "agreed": [
            (plan, one) for plan in of.plans for one in plan.findings if one.code in plan.acknowledged
        ],
        "why": of.stopped_plan if of.shown_status(now) == ShownStatus.STOPPED else None,
    }


def _row(plan: PlanSummary, undo: UndoSummary | None, now: datetime) -> Row:
    is_open = plan.has_runs_to_undo and (undo is None or not undo.is_counted or undo.put_back > 0)
    return Row(
        plan,
        outcome(plan, now),
        url=templating.url("plan", plan_id=plan.id),
        dag_url=links.airflow_url("dags", plan.dag_id),
        undo_url=templating.url("undo_preview", plan_id=plan.id) if is_open else "",
    )


def _steps(of: ChangeSet, undoable: dict[str, UndoSummary], now: datetime) -> NextSteps:
    stopped = [plan for plan in of.plans if plan.status == PlanStatus.STOPPED]
    stuck = tuple(plan.dag_id for plan in stopped if _would_stop_again(plan))
    left = [plan for plan in of.plans if plan.has_runs_to_undo]
    found = [undoable.get(plan.dag_id) for plan in left]
    return NextSteps(
        go_on=of.shown_status(now) == ShownStatus.STOPPED and len(stuck) < len(stopped),
        without=stuck,
        undo=any(one is None or not one.is_counted or one.put_back for one in found),
        preview_rest=bool(stopped),
    )


def _would_stop_again(plan: PlanSummary) -> bool:
    why = plan.stop_reason
    return bool(plan.undo_asked_runs or (why and why.kind in NOT_RESUMABLE))


def describe(of: ChangeSet, now: datetime) -> Receipt:
    """Describe the result of the set."""
    if of.undone_runs:
        return _undone(of)
    cleared = of.cleared
    by = of.applied_at, of.applied_by_name
    dags = count(len(of.plans), "Dag")
    if of.shown_status(now) == ShownStatus.APPLIED:
        title = f"Cleared {count(cleared, 'task instance')} in {dags}"
        return Receipt("ok", "check", "Cleared as planned", title, *by)
    rest = of.task_instances - cleared
    title = "Nothing was cleared"
    if cleared:
        title = (
            f"{cleared:,} of {count(of.task_instances, 'task instance')} {'was' if cleared == 1 else 'were'} "
            f"cleared; the other {rest:,} {'was' if rest == 1 else 'were'} not changed"
        )
    done = sum(plan.status == PlanStatus.APPLIED for plan in of.plans)
    note = f"{done:,} of {dags} {'is' if done == 1 else 'are'} cleared and verified."
    stopped = of.stopped_plan
    why = stopped.stop_reason if stopped else None
    if why and why.is_stop_by_person:
        ends = [plan.finished_at for plan in of.plans if plan.finished_at]
        return Receipt("warn", "stop", f"Stopped by {why.by}", title, max(ends, default=None), None, note)
    tag = "Interrupted" if why and why.kind == StopKind.INTERRUPTED else "Stopped"
    return Receipt("bad", "refuse", tag, title, *by, note)


def _undone(of: ChangeSet) -> Receipt:
    put_back, cleared = of.put_back, of.cleared
    undone, runs = of.undone_runs, of.cleared_runs
    whole = undone >= runs
    of_all = count(cleared, "task instance")
    title = f"{put_back:,} of {of_all} {'was' if put_back == 1 else 'were'} restored"
    if not put_back:
        title = f"None of {of_all} could be restored"
    elif put_back == cleared > 1:
        title = f"All {of_all} were restored"
    note = (
        ""
        if whole
        else f"{undone:,} of {count(runs, 'cleared run')} have been undone; the others stay cleared."
    )
    at = max((plan.last_step_at for plan in of.plans if plan.last_step_at), default=None)
    by = next((plan.requested_by_name for plan in of.plans if plan.is_undone), None)
    return Receipt("", "undo", "Undone" if whole else "Undone in part", title, at, by, note)
