"""The planned task instances behind a task that decides, and whether that task is yet to run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, func, or_, select, true, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_of_task, exists_row
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.skip_decisions import Decider, EarlyTask
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import LETS_START
from safe_clear_plugin.core.effects import CREATING_EFFECTS, PENDING_EFFECTS
from safe_clear_plugin.core.states import DONE_STATES
from safe_clear_plugin.storage.findings.task_relations import predicted_state
from safe_clear_plugin.storage.findings.undecided import is_undecided
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
Shapes = frozenset[int]
Changed = Mapping[str, Shapes]
"""Tasks with task instances that have ended, each with the shapes of these task instances."""


@dataclass(frozen=True, slots=True)
class RowsBehind:
    """The planned task instances in the runs that the scheduler has yet to look at.

    ``every`` are all shapes of the plan.
    """

    scope: PlanScope
    every: Shapes
    session: Session

    def undecided(self, mine: FromClause, shapes: Shapes, task_ids: Collection[str]) -> Any:
        """Select those of some tasks about which nothing is decided."""
        return self._select(mine, shapes, task_ids).where(*is_undecided(mine, self.scope.plan_id))

    def ended_by_rule(self, mine: FromClause, shapes: Shapes, task_ids: Collection[str]) -> Any:
        """Select those of some tasks that a trigger rule makes upstream_failed, and an operator can skip.

        ``SkipMixin`` skips by map index -1.
        """
        return self._select(mine, shapes, task_ids).where(
            mine.c.foreseen_state == "upstream_failed",
            mine.c.effect.in_(PENDING_EFFECTS),
            mine.c.map_index < 0,
        )

    def _select(self, mine: FromClause, shapes: Shapes, task_ids: Collection[str]) -> Any:
        scope = replace(self.scope, shapes=None if shapes == self.every else shapes)
        of_run = and_(mine.c.plan_id == plan_run.c.plan_id, mine.c.run_id == plan_run.c.run_id)
        return (
            select(mine.c.run_id, mine.c.task_id, mine.c.map_index)
            .select_from(mine.join(plan_run, of_run))
            .where(mine.c.plan_id == scope.plan_id, mine.c.task_id.in_(sorted(task_ids)), *scope.runs())
        )

    def will_decide(self, decider: Decider, mine: FromClause) -> ColumnElement[bool]:
        """Whether the task is yet to run in the run of a task instance, at its map index if that matters."""
        up, new = task_instance.alias("up"), rows_.alias("new")
        state = func.coalesce(predicted_state(up, self.scope.plan_id), "")
        return or_(
            exists_of_task(
                up,
                self.scope.dag_id,
                *of_task(up, mine, decider),
                *_same_index(up, mine, decider),
                state.not_in(DONE_STATES),
            ),
            exists_row(
                new,
                new.c.plan_id == self.scope.plan_id,
                new.c.run_id == mine.c.run_id,
                new.c.task_id == decider.task_id,
                *_same_index(new, mine, decider),
                new.c.effect.in_(CREATING_EFFECTS),
                new.c.foreseen_state.is_(None),
            ),
        )

    def may_start(self, task: EarlyTask, mine: FromClause) -> ColumnElement[bool]:
        """Whether others upstream of a task instance, if it needs any, may let it start."""
        if not task.needs_others:
            return true()
        up, new = task_instance.alias("other"), rows_.alias("new_other")
        state = func.coalesce(predicted_state(up, self.scope.plan_id), "")
        there = (up.c.run_id == mine.c.run_id, up.c.task_id.in_(sorted(task.others)))
        lets = state.in_(LETS_START[task.trigger_rule])
        if task.trigger_rule == "one_failed":
            return exists_of_task(up, self.scope.dag_id, *there, lets)
        return or_(
            exists_of_task(up, self.scope.dag_id, *there, or_(lets, state.not_in(DONE_STATES))),
            exists_row(
                new,
                new.c.plan_id == self.scope.plan_id,
                new.c.run_id == mine.c.run_id,
                new.c.task_id.in_(sorted(task.others)),
                new.c.effect.in_(CREATING_EFFECTS),
                new.c.foreseen_state.is_(None),
            ),
        )

    def write(self, found: FromClause, *conditions: ColumnElement[bool], **values: Any) -> int:
        """Write values to the rows that a query has found, and return how many they are."""
        same = and_(*(rows_.c[name] == found.c[name] for name in ("run_id", "task_id", "map_index")))
        written = update(rows_).where(rows_.c.plan_id == self.scope.plan_id, same, *conditions)
        return count_written(written.values(**values), self.session)


def of_task(up: FromClause, mine: FromClause, decider: Decider) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on the task instances of a decider in the run of another one."""
    yield up.c.run_id == mine.c.run_id
    yield up.c.task_id == decider.task_id


def _same_index(up: FromClause, mine: FromClause, decider: Decider) -> Iterator[ColumnElement[bool]]:
    if decider.mapped:
        yield or_(up.c.map_index == mine.c.map_index, up.c.map_index < 0)
