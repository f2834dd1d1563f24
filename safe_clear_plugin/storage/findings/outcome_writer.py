"""Writes the outcomes of a plan's task instances and dag runs."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason, RunOutcome
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


def mark_unknown(plan_id: UUID, session: Session) -> None:
    """Write that nothing is known of what would run: the prediction did not come in time."""
    for table, runs, unknown in (
        (plan_task_instance, Outcome.RUNS, Outcome.UNKNOWN),
        (plan_run, RunOutcome.RUNS, RunOutcome.UNKNOWN),
    ):
        session.execute(
            update(table)
            .where(table.c.plan_id == plan_id, table.c.outcome == runs)
            .values(outcome=unknown, outcome_reason=OutcomeReason.NOT_PREDICTED)
        )
