"""The progress of a plan's dag runs: stored with them for the waves, and counted."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, case, func, null, select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import String

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, of_dag
from safe_clear_plugin.core.waves import FAILURES, FailedRun, RunCounts, RunProgress
from safe_clear_plugin.storage.clear.rerun_verdicts import is_failure, verdicts
from safe_clear_plugin.storage.rows import is_cleared_run, run_date, same_task_instance
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

OPEN = (RunProgress.RUNNING_AGAIN, RunProgress.WAITING, RunProgress.FAILING)
"""Verdicts that a later look may change; a run that is done is never judged again."""
REOPENED = (*OPEN, RunProgress.FAILED)
"""For a look after which a person decides: a failed run may have been cleared again, and succeeded."""


def judge(plan_id: UUID, dag_id: str, session: Session, *, reopen: bool = False) -> None:
    """Store the progress of each cleared run whose progress is not final, with one statement.

    With ``reopen``, failed runs are judged again too.
    """
    judged = verdicts(plan_id, dag_id, REOPENED if reopen else OPEN)
    changed = (
        update(plan_run)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.run_id == judged.c.run_id,
            plan_run.c.rerun.is_distinct_from(judged.c.verdict),
        )
        .values(
            rerun=judged.c.verdict,
            failure_skipped=case((judged.c.verdict.in_(FAILURES), plan_run.c.failure_skipped), else_=null()),
        )
    )
    with hash_joins(session):
        session.execute(changed.execution_options(synchronize_session=False))


def skip_failures(plan_id: UUID, session: Session) -> None:
    """Note that a person goes on without the runs that failed, as they were judged last."""
    session.execute(
        update(plan_run)
        .where(plan_run.c.plan_id == plan_id, plan_run.c.rerun.in_(FAILURES))
        .values(failure_skipped=True)
    )


def count_kept(plan_id: UUID, session: Session) -> RunCounts:
    """Count the plan's runs as they were judged last; runs cleared since then are unfinished."""
    return _counts(_kept(plan_id, session))


def count_now(plan_id: UUID, dag_id: str, session: Session) -> RunCounts:
    """Count the plan's runs as they are now, and keep nothing."""
    judged = verdicts(plan_id, dag_id, REOPENED)
    columns = (judged.c.verdict, judged.c.rerun)
    query = select(*columns, _is_skipped(judged), func.count()).group_by(*columns, "skipped")
    counts = _kept(plan_id, session)
    with hash_joins(session):
        found = session.execute(query).all()
    for verdict, kept, skipped, runs in found:
        counts[kept or RunProgress.RUNNING_AGAIN, skipped] -= runs
        counts[verdict, skipped] += runs
    return _counts(counts)


def _kept(plan_id: UUID, session: Session) -> Counter[tuple[str, int]]:
    """Count the plan's runs by how they were judged last, and by whether their failure is skipped."""
    progress = type_coerce(
        case(
            (plan_run.c.undone_at.is_not(None), "undone"),
            (plan_run.c.applied_at.is_(None), RunProgress.UNTOUCHED.value),
            else_=func.coalesce(plan_run.c.rerun, RunProgress.RUNNING_AGAIN.value),
        ),
        String,
    ).label("progress")
    skipped = _is_skipped(plan_run)
    query = select(progress, skipped, func.count()).where(plan_run.c.plan_id == plan_id, is_cleared_run())
    return Counter(
        {(name, flag): runs for name, flag, runs in session.execute(query.group_by("progress", "skipped"))}
    )


def _is_skipped(runs: FromClause) -> ColumnElement[int]:
    return case((runs.c.failure_skipped, 1), else_=0).label("skipped")


def _counts(found: Counter[tuple[str, int]]) -> RunCounts:
    by_progress: Counter[str] = Counter()
    for (name, _), runs in found.items():
        by_progress[name] += runs
    skipped = sum(runs for (name, flag), runs in found.items() if flag and name in FAILURES)
    return RunCounts(**by_progress, skipped=skipped)


def failed_runs(plan_id: UUID, dag_id: str, session: Session, *, limit: int, tasks: int) -> list[FailedRun]:
    """Return the first runs that failed again, the earliest date first, each with its first failed tasks."""
    judged = verdicts(plan_id, dag_id, REOPENED)
    query = (
        select(judged.c.run_id, run_date(judged).label("date"))
        .where(judged.c.verdict.in_(FAILURES))
        .order_by("date", judged.c.dag_run_id)
        .limit(limit)
    )
    with hash_joins(session):
        return [
            FailedRun(row.run_id, row.date, _failed_tasks(plan_id, dag_id, row.run_id, session, limit=tasks))
            for row in session.execute(query).all()
        ]


def _failed_tasks(
    plan_id: UUID, dag_id: str, run_id: str, session: Session, *, limit: int
) -> tuple[str, ...]:
    ti, rows = task_instance, plan_task_instance
    of_run = (rows.c.plan_id == plan_id, rows.c.run_id == run_id, ti.c.run_id == run_id)
    query = (
        select(ti.c.task_id)
        .select_from(rows.join(ti, and_(of_dag(ti, dag_id), same_task_instance(ti, rows))))
        .where(*of_run, is_failure(), ti.c.state == "failed")
        .distinct()
        .order_by(ti.c.task_id)
        .limit(limit)
    )
    return tuple(session.scalars(query))
