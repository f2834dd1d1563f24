"""The tasks of a plan that decide about others, or wait for a person: read from its DAG versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from safe_clear_plugin.airflow_api.dag.human_tasks import asks_person
from safe_clear_plugin.airflow_api.dag.task_graph import Shape
from safe_clear_plugin.airflow_api.scheduling import latest_only, skip_decisions
from safe_clear_plugin.airflow_api.scheduling.latest_only import OldRuns
from safe_clear_plugin.airflow_api.scheduling.skip_decisions import Decider
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.storage.findings import later_outcomes, task_relations
from safe_clear_plugin.storage.findings.decisions import Decisions
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run


@dataclass(frozen=True, slots=True)
class DecidingTasks:
    """By shape, what decides about tasks of the plan, and which of these ask a person."""

    deciders: Mapping[int, Sequence[Decider]] = field(default_factory=dict)
    asking: Mapping[int, Collection[str]] = field(default_factory=dict)


def find(plan: PlanContext) -> DecidingTasks:
    """Look for them among the tasks that the plan takes; costs nothing in the database."""
    deciders, asking = {}, {}
    for shape in plan.shapes:
        if (dag := shape.version.dag) is None:
            continue
        pending = _pending(plan, shape)
        if found := list(skip_decisions.deciders(dag, pending)):
            deciders[shape.number] = found
        if humans := {task_id for task_id in pending if asks_person(dag.task_dict[task_id])}:
            asking[shape.number] = humans
    return DecidingTasks(deciders, asking)


def _pending(plan: PlanContext, shape: Shape) -> set[str]:
    """Return the tasks with task instances that may run; for whole runs all tasks, without a query."""
    every = set(shape.version.dag.task_dict)
    if plan.clears_whole_runs:
        return every
    planned = plan.planned_tasks.get(shape.number)
    return every & planned.pending if planned else set()


def decisions(plan: PlanContext, found: DecidingTasks) -> Decisions:
    """Return what the tasks decide, in the form that a prediction needs."""
    scope = PlanScope(plan.plan_id, plan.dag_id)
    by_shape = {shape.number: found.deciders.get(shape.number, ()) for shape in plan.shapes}
    stands = not plan.clears_whole_runs
    return Decisions(scope, by_shape, lambda: _old_runs(plan, scope), plan.session, stands=stands)


def _old_runs(plan: PlanContext, scope: PlanScope) -> OldRuns:
    rows = plan.session.execute(latest_only.newest_runs(plan_run, scope.runs())).all()
    return latest_only.old_runs(rows, plan.versions, plan.now)


def write_later_outcomes(plan: PlanContext, found: DecidingTasks) -> None:
    """Write which task instances will wait for a person, and which go on with stored state."""
    asking = {shape: set(task_ids) for shape, task_ids in found.asking.items()}
    if plan.traces.questions:
        for shape, task_ids in later_outcomes.asking_tasks(plan.plan_id, plan.session).items():
            asking.setdefault(shape, set()).update(task_ids)
    later_outcomes.wait_for_person(plan.plan_id, asking, plan.session)
    if plan.traces.task_state:
        later_outcomes.resume(plan.plan_id, plan.dag_id, plan.session)


def write_relations(plan: PlanContext, found: Decisions) -> int:
    """Write which task decides about which, for the lists of affected task instances."""
    return task_relations.write_relations(plan.plan_id, found.relations(), plan.session)
