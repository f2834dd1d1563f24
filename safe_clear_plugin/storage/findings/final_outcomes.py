"""Final outcomes of cleared task instances, beyond those that trigger rules set immediately.

Some never start: an upstream task has no task instance in the run, or one that never starts, or the task in
an earlier run does not succeed. Others are skipped as soon as their upstream task instances have succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError

from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import SUCCESS_MATTERS
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.storage.findings import stuck_runs
from safe_clear_plugin.storage.findings.final_states import foresee_task
from safe_clear_plugin.storage.findings.lacking_tasks import Tally
from safe_clear_plugin.storage.findings.predicted_states import Rules, Shapes, in_order
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.rows import planned_with_run
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
STUCK_REASONS = (OutcomeReason.POOL, OutcomeReason.EXECUTOR, OutcomeReason.BRANCH_OR_NEVER)
"""Reasons that tasks have before their trigger rules are looked at."""

ROUNDS = 20
"""Of going from run to run and back to the tasks of one run."""

Changed = dict[str, Shapes]
"""Tasks with a new outcome, each with the shapes in which it has that outcome."""


def matters(task: Upstream, tally: Tally | None) -> bool:
    """Whether a task may not run although all that runs upstream succeeds."""
    related = {relation.related_task_id for relation in task.all_relations}
    odd = related & (tally.lacking | tally.removed) if tally else ()
    return bool(odd) or task.trigger_rule in SUCCESS_MATTERS


def foresee(
    scope: PlanScope,
    by_shape: Mapping[int, Sequence[Upstream]],
    tallies: Mapping[int, Tally],
    block_by_past: Callable[[], Changed],
    session: Session,
) -> None:
    """Write the final outcomes of the task instances that would run.

    ``block_by_past`` writes what earlier runs block, and returns its tasks.
    """
    together = _orders(by_shape)
    seeds: Rules = {}
    for shape, tasks in by_shape.items():
        for task in tasks:
            if matters(task, tallies.get(shape)):
                seeds[task] = seeds.get(task, frozenset()) | {shape}
    stuck = _stuck_tasks(scope, session)
    changed = _pass_on(scope, together, seeds, stuck, session)
    if stuck.keys() & changed.keys():
        stuck_runs.release_runs(scope.plan_id, session)
    for _ in range(ROUNDS):
        blocked = block_by_past()
        if not blocked or not _pass_on(scope, together, {}, blocked, session):
            break


def _stuck_tasks(scope: PlanScope, session: Session) -> Changed:
    query = select(rows_.c.task_id, plan_run.c.shape).select_from(planned_with_run()).distinct()
    found: Changed = {}
    for row in session.execute(query.where(*scope.runs(), rows_.c.outcome_reason.in_(STUCK_REASONS))):
        found[row.task_id] = found.get(row.task_id, frozenset()) | {row.shape}
    return found


def _orders(by_shape: Mapping[int, Sequence[Upstream]]) -> list[Rules]:
    """Return the rules in order: for all shapes together, unless their orders contradict."""
    try:
        return [in_order(by_shape)]
    except CycleError:
        return [in_order({shape: tasks}) for shape, tasks in by_shape.items()]


def _pass_on(
    scope: PlanScope, together: Sequence[Rules], seeds: Rules, changed: Changed, session: Session
) -> Changed:
    """Go through the tasks once, from upstream to downstream; return those with a new outcome."""
    new: Changed = {}
    known = dict(changed)
    for rules in together:
        for task, shapes in rules.items():
            reached = frozenset[int]().union(
                *(known.get(relation.related_task_id, ()) for relation in task.all_relations)
            )
            wanted = shapes & (seeds.get(task, frozenset()) | reached)
            if wanted and foresee_task(replace(scope, shapes=wanted), task, session):
                new[task.task_id] = new.get(task.task_id, frozenset()) | wanted
                known[task.task_id] = known.get(task.task_id, frozenset()) | wanted
    return new
