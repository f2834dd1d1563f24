"""The preview of an undo: the result that it would have now, and whether there is anything to undo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Subquery, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.joins import join_runs
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, limited
from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.undo import (
    KeptRun,
    RunChoice,
    SchedulerChange,
    UndoCount,
    UndoPreview,
    UndoRun,
    UndoStay,
    Verdict,
)
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.time_limit import (
    TookTooLong,
    shared_preview_budget,
    undo_preview_time,
    undo_summary_time,
)
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.rows import map_label
from safe_clear_plugin.storage.undo import undo_batches
from safe_clear_plugin.storage.undo.run_verdicts import run_verdicts
from safe_clear_plugin.storage.undo.verdicts import is_change, task_instance_verdicts

LISTED = 200
"""Runs and task instances that a preview lists at most; its numbers are of all."""


def preview_undo(
    plan: PlanSummary, now: datetime, run_ids: Sequence[str] = (), *, offset: int = 0
) -> UndoPreview:
    """Return the result that an undo of these runs would have now, with its rows from ``offset`` on.

    With no run named, the preview is of all runs that are cleared and not undone.

    :raises TookTooLong: when it takes longer than a preview may
    """
    return _preview_within(undo_preview_time(), plan, now, run_ids, offset)


def preview_undos(plans: Sequence[PlanSummary], now: datetime) -> list[UndoPreview | Problem]:
    """Return the previews of several plans, all within the time of one preview, or that the time is up."""
    budget = shared_preview_budget()

    def preview(plan: PlanSummary) -> UndoPreview | Problem:
        try:
            return _preview_within(undo_preview_time(budget), plan, now, (), 0)
        except TookTooLong as late:
            return late.problem

    return [preview(plan) for plan in plans]


@contextmanager
def counting_session() -> Iterator[Session]:
    """Open a session to read the verdicts of an undo, for a part that a page can be shown without.

    :raises TookTooLong: when it takes longer than findings may
    """
    with undo_summary_time() as budget, new_session() as session, limited(budget, session):
        join_runs(session)
        yield session


def chosen_runs(plan: PlanSummary, choice: RunChoice) -> list[str]:
    """Return the ids of the chosen runs; no ids stand for all runs.

    :raises Refused: 422 when the choice leaves no run, or too many runs to name
    """
    if not choice.is_open:
        return list(choice.run_ids)
    with new_session() as session:
        found = undo_batches.choosable_runs(UUID(plan.id), choice, input_limits.LIST_ITEMS + 1, session)
    if not found:
        raise Refused(
            422, Problem("No cleared dag run matches.", "Search for another part of the run id.", "run")
        )
    if len(found) > input_limits.LIST_ITEMS:
        most = f"{input_limits.LIST_ITEMS:,}"
        raise Refused(422, Problem(f"More than {most} dag runs match.", "Choose fewer, or all.", "run"))
    return found


def summarize_undo(plan: PlanSummary, now: datetime) -> UndoPreview:
    """Return the same for all runs, for a page that can be shown without it.

    :raises TookTooLong: when it takes longer than findings may
    """
    return _preview_within(undo_summary_time(), plan, now, (), 0)


def _preview_within(
    time_limit: AbstractContextManager[Budget],
    plan: PlanSummary,
    now: datetime,
    run_ids: Sequence[str],
    offset: int,
) -> UndoPreview:
    found = compatibility.find_unsupported()
    if problem := found.problem if found else problem_with(plan, now):
        return UndoPreview(0, 0, 0, 0, problem=problem)
    with time_limit as budget:
        with new_session() as session, limited(budget, session):
            statistics.refresh(plan, session)
        with new_session() as session, limited(budget, session):
            join_runs(session)
            return _preview(UUID(plan.id), plan.dag_id, list(run_ids) or None, offset, session)


def _preview(
    plan_id: UUID, dag_id: str, run_ids: list[str] | None, offset: int, session: Session
) -> UndoPreview:
    verdicts = task_instance_verdicts(plan_id, dag_id, run_ids)
    cleared = verdicts.c.effect.in_(CLEARED_EFFECTS)
    counts = [
        UndoCount(Verdict(row.verdict), row.before, row.now, row.n)
        for row in session.execute(
            select(verdicts.c.verdict, verdicts.c.before, verdicts.c.now, func.count().label("n"))
            .where(cleared)
            .group_by(verdicts.c.verdict, verdicts.c.before, verdicts.c.now)
            .order_by(func.count().desc(), verdicts.c.before, verdicts.c.now)
        )
    ]
    runs = run_verdicts(plan_id, dag_id, verdicts, run_ids)
    dag_runs = session.execute(select(runs).order_by(runs.c.run_after, runs.c.dag_run_id)).all()
    total, put_back = (
        sum(item.count for item in counts),
        sum(item.count for item in counts if item.verdict == Verdict.PUT_BACK),
    )
    return UndoPreview(
        task_instances=total,
        put_back=put_back,
        dag_runs=len(dag_runs),
        whole_runs=sum(bool(row.whole) for row in dag_runs),
        counts=tuple(counts),
        runs=tuple(map(_run, dag_runs[offset : offset + LISTED])),
        stays=tuple(_stays(plan_id, verdicts, session)) if put_back < total else (),
        scheduler_changes=tuple(_scheduler_changes(verdicts, runs, session)),
    )


def _scheduler_changes(verdicts: Subquery, runs: Subquery, session: Session) -> Iterator[SchedulerChange]:
    """Yield what the scheduler did because of the clear; it is taken back with the whole run."""
    keys = (verdicts.c.task_id, verdicts.c.effect, runs.c.whole)
    found = (
        select(*keys, func.count().label("n"))
        .join(runs, runs.c.run_id == verdicts.c.run_id)
        .where(is_change(verdicts))
        .group_by(*keys)
        .order_by(*keys)
    )
    for row in session.execute(found):
        yield SchedulerChange(Effect(row.effect).shown, row.task_id, row.n, put_back=bool(row.whole))


def _stays(plan_id: UUID, verdicts: Subquery, session: Session) -> Iterator[UndoStay]:
    rows = session.execute(
        select(verdicts, map_label(verdicts, plan_id, session))
        .where(verdicts.c.effect.in_(CLEARED_EFFECTS), verdicts.c.verdict != Verdict.PUT_BACK.value)
        .order_by(verdicts.c.task_id, verdicts.c.run_id, verdicts.c.map_index)
        .limit(LISTED)
    )
    for row in rows:
        verdict = Verdict(row.verdict)
        yield UndoStay(row.run_id, row.task_id, row.map_index, row.now, verdict, row.rendered_map_index)


def _run(row: Any) -> UndoRun:
    return UndoRun(
        run_id=row.run_id,
        logical_date=row.logical_date,
        run_after=row.run_after,
        run_type=row.run_type,
        put_back=row.put_back,
        stay=row.cleared - row.put_back,
        whole=row.whole,
        state_now=row.state_now,
        state_back=row.state_back if row.whole else None,
        kept=KeptRun(row.kept) if row.kept else None,
    )


def problem_with(plan: PlanSummary, now: datetime) -> Problem | None:
    """Return why nothing of the plan can be undone, if that is so."""
    if plan.status == "applying" and not plan.is_waiting_for_person:
        return Problem("The plan is being cleared.", "Stop it first, or wait until it finishes.")
    if not plan.cleared_runs:
        return Problem("Nothing was cleared, so there is nothing to undo.", "")
    if not plan.has_runs_to_undo:
        return Problem(
            "The plan has already been undone.", "Its page lists the restored task instances and the others."
        )
    if plan.airflow_version != config.AIRFLOW_VERSION:
        return Problem(
            f"Airflow {plan.airflow_version} cleared the plan; this is Airflow {config.AIRFLOW_VERSION}.",
            "An undo restores rows column by column, so it can't cross an upgrade of Airflow.",
        )
    if retention.is_over(plan, now):
        return Problem(
            "The plan was cleared too long ago: the data for an undo is being deleted.",
            "`[safe_clear] history_retention_days` sets how long it is kept.",
        )
    return None
