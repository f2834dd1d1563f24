"""The dag runs of a plan, counted by outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.scheduling.run_end import FAILED_STATES
from safe_clear_plugin.core.outcomes import OutcomeReason, RunOutcome
from safe_clear_plugin.storage.findings.plan_runs import beside_plan
from safe_clear_plugin.storage.findings.run_outcomes import RunEnds
from safe_clear_plugin.storage.findings.task_relations import (
    depends_on_cleared,
    is_related,
    is_untouched,
    write_relations,
)
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance


@dataclass(frozen=True, slots=True)
class RunCount:
    """Dag runs with the same outcome."""

    outcome: str
    reason: str | None
    state: str | None
    """The state before the clear."""
    count: int


def count(scope: PlanScope, session: Session) -> list[RunCount]:
    """Count the runs that the scheduler handles by outcome."""
    by = (plan_run.c.outcome, plan_run.c.outcome_reason, plan_run.c.state)
    query = select(*by, func.count().label("n")).where(*scope.runs(), plan_run.c.outcome != RunOutcome.RUNS)
    return [RunCount(*row) for row in session.execute(query.group_by(*by))]


def task_dates(
    scope: PlanScope, reasons: Sequence[OutcomeReason], session: Session
) -> tuple[datetime | None, datetime | None]:
    """Return the first and last date of the runs with a reason. A task's own dates are compared with them.

    Mirrors the ``task_filter`` of ``DagRun.verify_integrity``, which creates any task in a backfill's run.
    """
    date = plan_run.c.logical_date
    query = select(func.min(date), func.max(date)).where(
        *scope.runs(), plan_run.c.outcome_reason.in_(reasons), plan_run.c.run_type != "backfill"
    )
    first, last = session.execute(query).one()
    return first, last


def count_runs_blocked(scope: PlanScope, session: Session) -> int:
    """Count the runs that are Success and will not be so again: a task waits for a failed earlier run."""
    blocked = select(rows_.c.run_id).where(
        rows_.c.plan_id == scope.plan_id, rows_.c.outcome_reason == OutcomeReason.PREVIOUS_RUN
    )
    query = select(func.count()).where(
        *scope.runs(),
        plan_run.c.state == "success",
        plan_run.c.outcome.in_((RunOutcome.FAILS, RunOutcome.NEVER_STARTS)),
        plan_run.c.run_id.in_(blocked),
    )
    return session.scalar(query) or 0


def count_with_failed_leaf(scope: PlanScope, ends: RunEnds, session: Session) -> int:
    """Count the runs with :func:`failed_leaves`, and write the tasks at the end of these runs."""
    by_shape: dict[int, list[Relation]] = {}
    for tasks, shapes in ends.leaves.items():
        for shape in shapes:
            by_shape[shape] = [Relation(task_id, "leaf", task_id) for task_id in sorted(tasks)]
    write_relations(scope.plan_id, by_shape, session)
    found = failed_leaves(scope.plan_id, scope.dag_id).subquery("found")
    return session.scalar(select(func.count(found.c.run_id.distinct()))) or 0


def failed_leaves(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select the task instances that fail the runs and are neither cleared nor downstream of cleared ones."""
    ti, leaf = task_instance, plan_relation.alias("leaf")
    return beside_plan(plan_id, dag_id).where(
        plan_run.c.outcome_reason == OutcomeReason.LEAF_FAILED,
        ti.c.state.in_(FAILED_STATES),
        exists_row(leaf, *is_related(leaf, plan_id, ("leaf",)), leaf.c.task_id == ti.c.task_id),
        is_untouched(ti, plan_id),
        ~depends_on_cleared(ti, plan_id),
    )
