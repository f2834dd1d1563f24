"""States that trigger rules make the scheduler set on cleared task instances without running them.

A predicted state is written to the plan's row. The next round evaluates the downstream tasks on it, as each
pass of the scheduler evaluates the states that the pass before has set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import SUCCESS_MATTERS
from safe_clear_plugin.core.effects import CREATING_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import ENDED_AT_ONCE, OutcomeReason
from safe_clear_plugin.storage.findings.decisions import Decisions
from safe_clear_plugin.storage.findings.open_states import leave_open
from safe_clear_plugin.storage.findings.possible_ends import follow
from safe_clear_plugin.storage.findings.rows_behind import Changed
from safe_clear_plugin.storage.findings.upstream_states import PlanScope, predict_task, states_upstream
from safe_clear_plugin.storage.tables import plan_task_instance

rows_ = plan_task_instance

Shapes = frozenset[int]
Rules = dict[Upstream, Shapes]
"""The tasks with their upstream tasks and trigger rule, and the shapes that have them so."""


def predict(
    plan_id: UUID,
    dag_id: str,
    by_shape: Mapping[int, Sequence[Upstream]],
    decisions: Decisions,
    session: Session,
    *,
    whole_runs: bool = False,
) -> bool:
    """Write the predicted states of the task instances that re-run. Return whether trigger rules end any.

    Tasks that are the same in several shapes are handled together, unless the shapes' orders contradict.

    :param whole_runs: whether the plan clears whole runs. Then no task instance keeps its state, so none ends
        at once
    """
    everywhere = PlanScope(plan_id, dag_id)
    related = {r.related_task_id for tasks in by_shape.values() for task in tasks for r in task.relations}
    known = states_upstream(everywhere, related, session) if related and not whole_runs else {}
    every = frozenset(by_shape)
    try:
        together = [(every, in_order(by_shape))]
    except CycleError:
        together = [(frozenset({shape}), in_order({shape: tasks})) for shape, tasks in by_shape.items()]
    any_ends = False
    for shapes, rules in together:
        to_check = {
            task: frozenset(shape for shape in shapes_of if _may_end(task, known.get(shape, {})))
            for task, shapes_of in rules.items()
        }
        rounds = _Rounds(everywhere, every, shapes, rules, decisions, session)
        any_ends = rounds.predict(to_check) or any_ends
    return any_ends


def drop_unexpanded(plan_id: UUID, session: Session) -> None:
    """Drop what the scheduler would create when a mapped task starts, where the task does not start.

    Of such a task the plan has task instances that are there already; of a new task it has none.
    """
    there = rows_.alias("there")
    session.execute(
        delete(rows_).where(
            rows_.c.plan_id == plan_id,
            rows_.c.effect == Effect.SCHEDULER_CREATES.value,
            or_(rows_.c.foreseen_state.is_not(None), rows_.c.outcome.in_(ENDED_AT_ONCE)),
            exists_row(
                there,
                there.c.plan_id == rows_.c.plan_id,
                there.c.run_id == rows_.c.run_id,
                there.c.task_id == rows_.c.task_id,
                there.c.effect.not_in((*CREATING_EFFECTS, Effect.LEAVE_OUT.value)),
            ),
        )
    )


def in_order(by_shape: Mapping[int, Sequence[Upstream]]) -> Rules:
    """Return the rules of all shapes, each once and after those of its upstream tasks.

    :raises CycleError: when there is no such order for all the shapes
    """
    shapes: dict[Upstream, set[int]] = {}
    order: TopologicalSorter[Upstream] = TopologicalSorter()
    for shape, tasks in by_shape.items():
        by_id = {task.task_id: task for task in tasks}
        for task in tasks:
            shapes.setdefault(task, set()).add(shape)
            upstream = {r.related_task_id for r in task.all_relations} & by_id.keys()
            order.add(task, *(by_id[task_id] for task_id in sorted(upstream)))
    return {task: frozenset(shapes[task]) for task in order.static_order()}


@dataclass(frozen=True, slots=True)
class _Rounds:
    """Goes through rules in rounds; within a round, in reverse order.

    So no rule sees the changes of its own round.
    """

    scope: PlanScope
    every: Shapes
    shapes: Shapes
    rules: Rules
    decisions: Decisions
    session: Session

    def predict(self, to_check: Rules) -> bool:
        """Predict the states set at once, then those set when other tasks run, then the unknown ones.

        Return whether trigger rules end any task instance at once.
        """
        any_ends, any_later = self._go_through(to_check, None, OutcomeReason.TRIGGER_RULE), False
        while skipped := self.decisions.skip_in_old_runs(self.shapes):
            ends_later = self._go_through(self._behind(skipped), skipped, OutcomeReason.LATEST_ONLY)
            any_later = any_later or ends_later
        self._leave_open(any_ended=any_ends or any_later)
        return any_ends

    def _go_through(self, to_check: Rules, ended: Changed | None, reason: OutcomeReason) -> bool:
        any_ends = False
        while True:
            self.decisions.mark(self.shapes, ended)
            changed: dict[str, Shapes] = {}
            for task in reversed(self.rules):
                shapes = to_check.get(task, Shapes())
                if shapes and predict_task(self._within(shapes), task, self.session, reason):
                    changed[task.task_id] = changed.get(task.task_id, Shapes()) | shapes
            any_ends = any_ends or bool(changed)
            for task_id, shapes in self.decisions.settle().items():
                changed[task_id] = changed.get(task_id, Shapes()) | shapes
            if not changed:
                return any_ends
            to_check, ended = self._behind(changed), changed

    def _leave_open(self, *, any_ended: bool) -> None:
        """Follow what nobody knows downstream, in the order of the rules.

        :param any_ended: whether a trigger rule has ended any task instance, which a decision may overrule
        """
        open_ = dict(self.decisions.leave_open(self.shapes))
        overruled = self.decisions.overruled()
        contested = dict(overruled.write(self.shapes)) if any_ended and self.decisions else {}
        for task, shapes in self.rules.items():
            if (here := shapes & _shapes_upstream(task, open_)) and leave_open(
                self._within(here), task, self.session
            ):
                open_[task.task_id] = open_.get(task.task_id, Shapes()) | here
            if (here := shapes & _shapes_upstream(task, contested)) and follow(
                self._within(here),
                task,
                self.session,
                skipped_directly=task.task_id in self.decisions.skipped_in_old_runs,
            ):
                contested[task.task_id] = contested.get(task.task_id, Shapes()) | here
                open_[task.task_id] = open_.get(task.task_id, Shapes()) | here
        if contested:
            overruled.settle()

    def _within(self, shapes: Shapes) -> PlanScope:
        return replace(self.scope, shapes=None if shapes == self.every else shapes)

    def _behind(self, changed: Changed) -> Rules:
        return {task: shapes & _shapes_upstream(task, changed) for task, shapes in self.rules.items()}


def _shapes_upstream(task: Upstream, changed: Changed) -> Shapes:
    """Return the shapes in which something changed directly upstream of a task."""
    return Shapes().union(*(changed.get(relation.related_task_id, ()) for relation in task.relations))


def _may_end(task: Upstream, known: Mapping[str, set[str]]) -> bool:
    states: set[str] = set().union(*(known.get(r.related_task_id, set()) for r in task.relations))
    return bool(states - {"success"}) or (bool(states) and task.trigger_rule in SUCCESS_MATTERS)
