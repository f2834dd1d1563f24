"""A plan's own tables, for queries that join them with Airflow's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, case, func, or_

from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import ENDED_AT_ONCE, Outcome, OutcomeReason
from safe_clear_plugin.core.states import UNFINISHED_RUN_STATES


@dataclass(frozen=True, slots=True)
class PlanTables:
    """The tables of runs and task instances, and the plan whose rows are read."""

    plan_id: UUID
    runs: Table
    task_instances: Table

    def joined(self) -> Any:
        """Join the plan's task instances with their runs."""
        runs, rows = self.runs, self.task_instances
        return rows.join(runs, and_(runs.c.plan_id == rows.c.plan_id, runs.c.run_id == rows.c.run_id))

    def is_to_run(self) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions on rows of :meth:`joined` that the scheduler will start after the clear.

        It ignores finished runs and task instances that are marked removed, and it does not start those for
        which a state is predicted because of their upstream task instances, be it at once or later. Among
        them are still those that never start: see :meth:`counts`.
        """
        runs, rows = self.runs, self.task_instances
        return (
            rows.c.plan_id == self.plan_id,
            rows.c.effect.in_(PENDING_EFFECTS),
            or_(rows.c.after_state.is_(None), rows.c.after_state != "removed"),
            rows.c.foreseen_state.is_(None),
            or_(rows.c.outcome.is_(None), rows.c.outcome.not_in(ENDED_AT_ONCE)),
            *self.is_unfinished_run(),
            runs.c.plan_id == self.plan_id,
        )

    def is_unfinished_run(self) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions on the plan's runs that the scheduler will handle after the clear."""
        runs = self.runs
        return (
            runs.c.plan_id == self.plan_id,
            runs.c.task_instances > 0,
            runs.c.after_state.in_(UNFINISHED_RUN_STATES),
        )

    def counts(self) -> tuple[ColumnElement[int], ...]:
        """Return how many of the rows that are to run will start, never start, and never end."""
        outcome = self.task_instances.c.outcome
        return (
            func.count(case((outcome.is_distinct_from(Outcome.NEVER_STARTS), 1))).label("n"),
            func.count(case((outcome == Outcome.NEVER_STARTS, 1))).label("never_start"),
            func.count(case((outcome == Outcome.WAITS, 1))).label("never_end"),
        )

    def is_looked_at(self) -> ColumnElement[bool]:
        """Whether the scheduler looks at an unfinished run: not at those of a backfill that is over."""
        return self.runs.c.outcome_reason.is_distinct_from(OutcomeReason.BACKFILL_ENDED)
