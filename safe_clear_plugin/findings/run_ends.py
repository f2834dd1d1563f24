"""The tasks that decide how the dag runs of a plan end: read from its DAG versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from safe_clear_plugin.airflow_api.scheduling import run_end, skip_decisions
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.storage.findings.run_outcomes import RunEnds


def ends_of(plan: PlanContext) -> RunEnds:
    """Return these tasks by shape."""
    dags = {shape.number: shape.version.dag for shape in plan.shapes if shape.version.dag is not None}
    return RunEnds(
        leaves=_by_tasks(dags, run_end.effective_leaves),
        keep_open=_by_tasks(dags, run_end.waited_for_forever),
        decided={} if plan.clears_whole_runs else _decided(plan),
    )


def _decided(plan: PlanContext) -> dict[frozenset[str], frozenset[int]]:
    """Return the tasks that the branches of the plan decide about, in the plan or outside it."""
    found: dict[frozenset[str], frozenset[int]] = {}
    for shape in plan.shapes:
        planned = plan.planned_tasks.get(shape.number)
        if planned is None or (dag := shape.version.dag) is None:
            continue
        deciders = skip_decisions.deciders(dag, dag.task_dict.keys())
        again = [decider for decider in deciders if decider.task_id in planned.pending]
        if tasks := frozenset().union(*(decider.children | decider.further for decider in again)):
            found[tasks] = found.get(tasks, frozenset()) | {shape.number}
    return found


def _by_tasks(
    dags: Mapping[int, object], tasks_of: Callable[[object], frozenset[str]]
) -> dict[frozenset[str], frozenset[int]]:
    found: dict[frozenset[str], frozenset[int]] = {}
    for shape, dag in dags.items():
        if tasks := tasks_of(dag):
            found[tasks] = found.get(tasks, frozenset()) | {shape}
    return found
