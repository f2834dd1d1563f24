"""Decisions of branches and short circuits about a plan's task instances: earlier ones and open ones.

An earlier decision is written in two steps, so that the trigger rules of the same round do not see it, just
as the scheduler evaluates all dependencies of a pass on the states from before it: :meth:`Decisions.mark`
comes before them, :meth:`Decisions.settle` after them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, select, true, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance, xcom
from safe_clear_plugin.airflow_api.platform.joins import exists_of_task
from safe_clear_plugin.airflow_api.scheduling.latest_only import OldRuns
from safe_clear_plugin.airflow_api.scheduling.skip_decisions import (
    Decider,
    decision_text,
    is_decision_of,
    skipped_by,
)
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.core.states import DONE_STATES
from safe_clear_plugin.storage.findings.overruled_states import OverruledStates
from safe_clear_plugin.storage.findings.rows_behind import Changed, RowsBehind, Shapes, of_task
from safe_clear_plugin.storage.findings.task_relations import predicted_state
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
SKIPPED = Outcome.SKIPPED.value
OPEN = {"outcome": Outcome.UNKNOWN.value, "outcome_reason": OutcomeReason.BRANCH_DECIDES_AGAIN.value}


class Decisions:
    """The tasks of a plan that decide whether others run."""

    def __init__(
        self,
        scope: PlanScope,
        by_shape: Mapping[int, Iterable[Decider]],
        old_runs: Callable[[], OldRuns],
        session: Session,
        *,
        stands: bool,
    ) -> None:
        """Read what they decided before.

        :param stands: whether any of it can stand; where whole runs are cleared, none does
        """
        self._scope, self._session = scope, session
        self._rows = RowsBehind(scope, frozenset(by_shape), session)
        self._shapes: dict[Decider, Shapes] = {}
        for shape, found in by_shape.items():
            for decider in found:
                self._shapes[decider] = self._shapes.get(decider, Shapes()) | {shape}
        self._texts = self._read() if self._shapes and stands else {}
        self._old = old_runs() if any(decider.latest_only for decider in self._shapes) else OldRuns()
        self._marked: dict[str, Shapes] = {}
        self._has_marked = False
        self._early: dict[str, Shapes] = {}

    def __bool__(self) -> bool:
        """Whether any task of the plan is decided about."""
        return bool(self._shapes)

    @property
    def skipped_in_old_runs(self) -> frozenset[str]:
        """The tasks that a ``LatestOnlyOperator`` decides about."""
        return frozenset().union(*(one.children for one in self._shapes if one.latest_only))

    def relations(self) -> dict[int, list[Relation]]:
        """Return by shape which task decides about which."""
        found: dict[int, list[Relation]] = {}
        for decider, shapes in self._shapes.items():
            for child in sorted(decider.children | decider.further):
                relation = Relation(child, "decided_by", decider.task_id, decider.mapped)
                for shape in shapes:
                    found.setdefault(shape, []).append(relation)
        return found

    def _read(self) -> dict[str, list[str | None]]:
        """Return the different decisions that each task has left in the runs of the plan."""
        of_runs = is_decision_of(plan_run, {decider.task_id for decider in self._shapes})
        query = select(xcom.c.task_id, decision_text().label("text")).select_from(
            plan_run.join(xcom, of_runs)
        )
        found: dict[str, list[str | None]] = {}
        for row in self._session.execute(query.where(*self._scope.runs()).distinct()):
            found.setdefault(row.task_id, []).append(row.text)
        return found

    def mark(self, shapes: Shapes, ended: Changed | None) -> None:
        """Write which task instances are skipped because of what tasks that have ended decided before.

        :param ended: the tasks with task instances that ended in the last round; ``None`` for any before it
        """
        self._marked = {}
        for decider, everywhere in self._shapes.items():
            here = shapes & everywhere
            if ended is not None:
                here &= ended.get(decider.task_id, Shapes())
            for text in self._texts.get(decider.task_id, ()) if here else ():
                skipped = skipped_by(text, decider.children)
                if skipped and self._mark(decider, here, text, skipped):
                    for task_id in skipped:
                        self._marked[task_id] = self._marked.get(task_id, Shapes()) | here

    def _mark(self, decider: Decider, shapes: Shapes, text: str | None, skipped: Sequence[str]) -> int:
        mine = rows_.alias("behind")
        # As the scheduler looks at it, it is enough that one of its map indexes has ended.
        up = task_instance.alias("up")
        ended = exists_of_task(
            up,
            self._scope.dag_id,
            *of_task(up, mine, decider),
            predicted_state(up, self._scope.plan_id).in_(DONE_STATES),
        )
        decision = and_(
            is_decision_of(plan_run, [decider.task_id]),
            decision_text() == text,
            xcom.c.map_index == (mine.c.map_index if decider.mapped else -1),
        )
        found = (
            self._rows.undecided(mine, shapes, skipped).join(xcom, decision).where(ended).subquery("decided")
        )
        return self._rows.write(found, outcome=SKIPPED, outcome_reason=OutcomeReason.ALREADY_SKIPPED.value)

    def settle(self) -> Changed:
        """Let the next round see what this one has marked; return the tasks that it is about."""
        if self._marked:
            self._has_marked = True
            marked = (
                rows_.c.plan_id == self._scope.plan_id,
                rows_.c.outcome_reason == OutcomeReason.ALREADY_SKIPPED.value,
                rows_.c.foreseen_state.is_(None),
            )
            self._session.execute(update(rows_).where(*marked).values(foreseen_state=SKIPPED))
        return self._marked

    def skip_in_old_runs(self, shapes: Shapes) -> Changed:
        """Write what each ``LatestOnlyOperator`` that runs will skip; return the tasks that it is about."""
        found: dict[str, Shapes] = {}
        for decider, everywhere in self._shapes.items():
            here = shapes & everywhere
            if not decider.latest_only or not here or not self._old:
                continue
            self._leave_early_open(decider, here)
            mine = rows_.alias("behind")
            skipped = self._in_old_runs(decider, here, mine, decider.children).subquery("skipped")
            values = {"foreseen_state": SKIPPED, "outcome": SKIPPED}
            if self._rows.write(skipped, **values, outcome_reason=OutcomeReason.LATEST_ONLY.value):
                found |= {child: found.get(child, Shapes()) | here for child in decider.children}
        return found

    def _in_old_runs(
        self, decider: Decider, shapes: Shapes, mine: FromClause, task_ids: Collection[str]
    ) -> Any:
        return self._rows.undecided(mine, shapes, task_ids).where(
            mine.c.outcome.is_distinct_from(Outcome.UNKNOWN),
            self._old.includes(plan_run),
            self._rows.will_decide(decider, mine),
        )

    def _leave_early_open(self, decider: Decider, shapes: Shapes) -> None:
        """Write that nobody knows whether a task instance starts before the operator skips it."""
        for task in decider.early_tasks:
            mine = rows_.alias("behind")
            early = self._in_old_runs(decider, shapes, mine, [task.task_id])
            if self._rows.write(early.where(self._rows.may_start(task, mine)).subquery("early"), **OPEN):
                self._early[task.task_id] = self._early.get(task.task_id, Shapes()) | shapes

    def overruled(self) -> OverruledStates:
        """Return what the decisions make of states that a trigger rule sets."""
        return OverruledStates(self._rows, self._shapes, self._old)

    def leave_open(self, shapes: Shapes) -> Changed:
        """Write that nobody knows of the task instances that a task decides about when it runs."""
        found = {task_id: here & shapes for task_id, here in self._early.items() if here & shapes}
        for decider, everywhere in self._shapes.items():
            here = shapes & everywhere
            if not here or (decider.latest_only and not self._old.leaves_open):
                continue
            for task_ids, only in ((decider.children, true()), (decider.further, rows_.c.map_index < 0)):
                if task_ids and self._open(decider, here, sorted(task_ids), only):
                    found |= {task_id: found.get(task_id, Shapes()) | here for task_id in task_ids}
        return found

    def _open(
        self, decider: Decider, shapes: Shapes, task_ids: Sequence[str], only: ColumnElement[bool]
    ) -> int:
        mine = rows_.alias("behind")
        found = (
            self._rows.undecided(mine, shapes, task_ids)
            .where(mine.c.outcome == Outcome.RUNS, self._rows.will_decide(decider, mine))
            .where(self._old.may_include(plan_run) if decider.latest_only else true())
            .subquery("open")
        )
        return self._rows.write(found, only, **OPEN)
