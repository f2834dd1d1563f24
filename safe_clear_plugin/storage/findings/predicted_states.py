"""The states that the scheduler sets on cleared task instances without running them, as trigger rules say.

A predicted state is written to the plan's row. The tasks downstream read it in the next round, as each pass
of the scheduler reads the states that the pass before has set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import SUCCESS_MATTERS
from safe_clear_plugin.core.effects import CREATING_EFFECTS, Effect
from safe_clear_plugin.storage.findings.upstream_states import PlanScope, predict_task, states_upstream
from safe_clear_plugin.storage.tables import plan_task_instance

rows_ = plan_task_instance

Shapes = frozenset[int]
Rules = dict[Upstream, Shapes]
"""The tasks with their upstream tasks and trigger rule, and the shapes that have them so."""


def predict(plan_id: UUID, dag_id: str, by_shape: Mapping[int, Sequence[Upstream]], session: Session) -> None:
    """Write the predicted states of the task instances that re-run.

    Tasks that are the same in several shapes are handled together, unless the shapes' orders contradict.
    """
    everywhere = PlanScope(plan_id, dag_id)
    related = {r.related_task_id for tasks in by_shape.values() for task in tasks for r in task.relations}
    known = states_upstream(everywhere, related, session) if related else {}
    try:
        together = [_in_order(by_shape)]
    except CycleError:
        together = [_in_order({shape: tasks}) for shape, tasks in by_shape.items()]
    for rules in together:
        to_check = {
            task: frozenset(shape for shape in shapes if _may_end(task, known.get(shape, {})))
            for task, shapes in rules.items()
        }
        _predict_in_rounds(everywhere, rules, to_check, frozenset(by_shape), session)


def drop_unexpanded(plan_id: UUID, session: Session) -> None:
    """Drop what the scheduler would create when a mapped task starts, where the task does not start.

    Of such a task the plan has task instances that are there already; of a new task it has none.
    """
    there = rows_.alias("there")
    session.execute(
        delete(rows_).where(
            rows_.c.plan_id == plan_id,
            rows_.c.effect == Effect.SCHEDULER_CREATES.value,
            rows_.c.foreseen_state.is_not(None),
            exists_row(
                there,
                there.c.plan_id == rows_.c.plan_id,
                there.c.run_id == rows_.c.run_id,
                there.c.task_id == rows_.c.task_id,
                there.c.effect.not_in((*CREATING_EFFECTS, Effect.LEAVE_OUT.value)),
            ),
        )
    )


def _in_order(by_shape: Mapping[int, Sequence[Upstream]]) -> Rules:
    """Return the rules of all shapes, each once and after those of its upstream tasks.

    :raises CycleError: when there is no such order for all the shapes
    """
    shapes: dict[Upstream, set[int]] = {}
    order: TopologicalSorter[Upstream] = TopologicalSorter()
    for shape, tasks in by_shape.items():
        by_id = {task.task_id: task for task in tasks}
        for task in tasks:
            shapes.setdefault(task, set()).add(shape)
            upstream = {r.related_task_id for r in task.relations} & by_id.keys()
            order.add(task, *(by_id[task_id] for task_id in sorted(upstream)))
    return {task: frozenset(shapes[task]) for task in order.static_order()}


def _predict_in_rounds(
    scope: PlanScope, rules: Rules, to_check: Rules, every: Shapes, session: Session
) -> None:
    """Go through the rules in rounds; within a round, in reverse order.

    So no rule sees the changes of its own round.
    """
    while any(to_check.values()):
        changed: dict[str, Shapes] = {}
        for task in reversed(rules):
            shapes = to_check.get(task, frozenset())
            here = replace(scope, shapes=None if shapes == every else shapes)
            if shapes and predict_task(here, task, session):
                changed[task.task_id] = changed.get(task.task_id, frozenset()) | shapes
        to_check = {
            task: shapes & frozenset().union(*(changed.get(r.related_task_id, ()) for r in task.relations))
            for task, shapes in rules.items()
        }


def _may_end(task: Upstream, known: Mapping[str, set[str]]) -> bool:
    states: set[str] = set().union(*(known.get(r.related_task_id, set()) for r in task.relations))
    return bool(states - {"success"}) or (bool(states) and task.trigger_rule in SUCCESS_MATTERS)
