"""Counts of a plan's task instances and dag runs by state and by outcome."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_fixed, of_dag
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import count_outcomes
from safe_clear_plugin.core.planned_rows import StateChange
from safe_clear_plugin.storage.rows import (
    cleared_runs,
    in_runs,
    planned_with_run,
    same_task_instance,
)
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance


def state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's task instances by state before, state after and effect."""
    result = session.execute(
        select(rows_.c.state, rows_.c.after_state, rows_.c.effect, func.count().label("n"))
        .where(rows_.c.plan_id == plan_id)
        .group_by(rows_.c.state, rows_.c.after_state, rows_.c.effect)
        .order_by(func.count().desc(), rows_.c.effect, rows_.c.state)
    )
    return [StateChange(row.state, row.after_state, Effect(row.effect), row.n) for row in result]


def run_state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's dag runs by state before and after."""
    result = session.execute(
        select(plan_run.c.state, plan_run.c.after_state, func.count().label("n"))
        .where(*cleared_runs(plan_id))
        .group_by(plan_run.c.state, plan_run.c.after_state)
        .order_by(func.count().desc(), plan_run.c.state)
    )
    return [StateChange(row.state, row.after_state, Effect.CLEAR, row.n) for row in result]


def outcomes(plan_id: UUID, session: Session) -> dict[str, int]:
    """Count the plan's task instances by outcome."""
    counted = select(rows_.c.outcome, func.count()).where(rows_.c.plan_id == plan_id)
    return count_outcomes((outcome, n) for outcome, n in session.execute(counted.group_by(rows_.c.outcome)))


def run_outcomes(plan_id: UUID, session: Session) -> dict[str, int]:
    """Count the plan's dag runs in which something is cleared by outcome."""
    counted = select(plan_run.c.outcome, func.count()).where(*cleared_runs(plan_id))
    found = session.execute(counted.group_by(plan_run.c.outcome))
    return {outcome: number for outcome, number in found if outcome is not None}


def states_now(plan_id: UUID, dag_id: str, session: Session) -> list[tuple[str | None, int]]:
    """Count the task instances that the plan cleared, in the runs that it got to, by their state now.

    To be called within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    ti = task_instance
    joined = planned_with_run().join(
        ti, and_(of_dag(ti, dag_id), same_task_instance(ti, rows_), in_runs(ti, plan_id))
    )
    result = session.execute(
        select(ti.c.state, func.count().label("n"))
        .select_from(joined)
        .where(
            is_fixed(plan_run.c.plan_id, plan_id),
            rows_.c.effect.in_(CLEARED_EFFECTS),
            plan_run.c.applied_at.is_not(None),
        )
        .group_by(ti.c.state)
        .order_by(ti.c.state)
    )
    return [(row.state, row.n) for row in result]
