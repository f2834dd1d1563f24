"""A plan's own tables, for queries that join them with Airflow's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, or_

from safe_clear_plugin.core.effects import PENDING_EFFECTS
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
        which a state is predicted because of their upstream task instances.
        """
        runs, rows = self.runs, self.task_instances
        return (
            rows.c.plan_id == self.plan_id,
            rows.c.effect.in_(PENDING_EFFECTS),
            or_(rows.c.after_state.is_(None), rows.c.after_state != "removed"),
            rows.c.foreseen_state.is_(None),
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
