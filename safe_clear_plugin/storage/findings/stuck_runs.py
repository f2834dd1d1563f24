"""Writing which dag runs and task instances of a plan never start, though the clear leaves them ready to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import by_value
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome, OutcomeReason, RunOutcome
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance


@dataclass(frozen=True, slots=True)
class Stuck:
    """The number of task instances that never start, and of their runs."""

    task_instances: int = 0
    runs: int = 0


NOTHING_STUCK = Stuck()


def mark_queued_runs(
    plan_id: UUID, run_pks: Select[tuple[int]], reason: OutcomeReason, session: Session
) -> Stuck:
    """Write that some runs, and all that is cleared in them, never start if the clear queues them."""
    runs = count_written(
        update(plan_run)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.outcome == RunOutcome.RUNS,
            plan_run.c.after_state == "queued",
            plan_run.c.dag_run_id.in_(run_pks),
        )
        .values(outcome=RunOutcome.NEVER_STARTS, outcome_reason=reason),
        session,
    )
    if not runs:
        return NOTHING_STUCK
    stuck = select(plan_run.c.run_id).where(
        plan_run.c.plan_id == plan_id, plan_run.c.outcome_reason == reason
    )
    return Stuck(
        count_written(
            update(rows_)
            .where(rows_.c.plan_id == plan_id, rows_.c.outcome == Outcome.RUNS, rows_.c.run_id.in_(stuck))
            .values(outcome=Outcome.NEVER_STARTS, outcome_reason=reason),
            session,
        ),
        runs,
    )


def mark_tasks(
    plan_id: UUID, by_version: Mapping[UUID, frozenset[str]], reason: OutcomeReason, session: Session
) -> Stuck:
    """Write that some tasks, given by DAG version, never start, so that their runs never end."""
    found = 0
    for tasks, versions in by_value(by_version):
        of_tasks = _of_tasks(plan_id, versions, tasks)
        never = {"outcome": Outcome.NEVER_STARTS, "outcome_reason": reason}
        marked = update(rows_).where(*of_tasks, rows_.c.outcome.in_(GOES_ON)).values(**never)
        found += count_written(marked, session)
        skipped = rows_.c.outcome_reason == OutcomeReason.BRANCH_DECIDES_AGAIN
        perhaps = {"outcome_reason": OutcomeReason.BRANCH_OR_NEVER}
        session.execute(update(rows_).where(*of_tasks, skipped).values(**perhaps))
    if not found:
        return NOTHING_STUCK
    stuck = select(rows_.c.run_id).where(rows_.c.plan_id == plan_id, rows_.c.outcome_reason == reason)
    session.execute(
        update(plan_run)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.outcome == RunOutcome.RUNS,
            plan_run.c.run_id.in_(stuck.distinct()),
        )
        .values(outcome=RunOutcome.NEVER_STARTS, outcome_reason=reason)
    )
    runs = session.scalar(select(func.count()).select_from(stuck.distinct().subquery()))
    return Stuck(found, runs or 0)


def release_runs(plan_id: UUID, session: Session) -> None:
    """Write that a run goes on if trigger rules end every task instance in it that would wait for a slot."""
    reasons = (OutcomeReason.POOL, OutcomeReason.EXECUTOR)
    waits = select(rows_.c.run_id).where(rows_.c.plan_id == plan_id, rows_.c.outcome_reason.in_(reasons))
    session.execute(
        update(plan_run)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.outcome_reason.in_(reasons),
            plan_run.c.run_id.not_in(waits),
        )
        .values(outcome=RunOutcome.RUNS, outcome_reason=None)
    )


def run_dates(
    plan_id: UUID, reason: OutcomeReason, session: Session
) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last logical date of the runs with this reason."""
    date = plan_run.c.logical_date
    of_reason = (plan_run.c.plan_id == plan_id, plan_run.c.outcome_reason == reason)
    first, last = session.execute(select(func.min(date), func.max(date)).where(*of_reason)).one()
    return first, last


def _of_tasks(plan_id: UUID, versions: list[UUID], tasks: frozenset[str]) -> tuple[ColumnElement[bool], ...]:
    runs = select(plan_run.c.run_id).where(
        plan_run.c.plan_id == plan_id, plan_run.c.uses_dag_version_id.in_(versions)
    )
    return (rows_.c.plan_id == plan_id, rows_.c.task_id.in_(sorted(tasks)), rows_.c.run_id.in_(runs))
