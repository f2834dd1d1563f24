"""The plan whose facts are collected, with what several areas need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dependencies
from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.dag.task_graph import Shape
from safe_clear_plugin.airflow_api.scheduling.pool_slots import PoolLimits, pool_limits
from safe_clear_plugin.airflow_api.scheduling.stored_state import Traces, look_for_traces
from safe_clear_plugin.airflow_api.selection.select_runs import Scope
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, DAG_CHANGE_EFFECTS, Effect
from safe_clear_plugin.core.planned_rows import StateChange
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.findings.workload import Workload, read_workload
from safe_clear_plugin.storage.findings import task_relations
from safe_clear_plugin.storage.findings.task_relations import PlannedTasks


@dataclass(frozen=True)
class PlanContext:
    """A plan whose rows are written, in the transaction that makes it. Nothing in it grows with the rows."""

    plan_id: UUID
    selection: Selection
    scope: Scope
    latest: Version
    versions: Mapping[UUID, Version]
    """The DAG versions that the runs use when they re-run."""
    on_latest: bool
    shapes: Sequence[Shape]
    changes: Sequence[StateChange]
    run_changes: Sequence[StateChange]
    compares_versions: bool
    """Whether a run moves to another DAG version, or a mapping to another length."""
    task_instances: int
    dag_runs: int
    actor: Actor
    now: datetime
    session: Session

    @property
    def dag_id(self) -> str:
        """The DAG that is cleared."""
        return self.selection.dag_id

    @cached_property
    def workload(self) -> Workload:
        """The work for the scheduler: read once, for several areas."""
        return read_workload(
            self.plan_id, self.dag_id, self.versions, self.pools, now=self.now, session=self.session
        )

    @cached_property
    def tasks(self) -> Sequence[Any]:
        """The tasks of all DAG versions used."""
        dags = (version.dag for version in self.versions.values() if version.dag is not None)
        return [task for dag in dags for task in dag.tasks]

    @cached_property
    def pools(self) -> Mapping[str, PoolLimits]:
        """The pools of these tasks that exist; several areas use them."""
        return pool_limits({task.pool for task in self.tasks}, self.session)

    @cached_property
    def setups_and_teardowns(self) -> frozenset[str]:
        """The tasks that are a setup or a teardown in any of the DAG versions used."""
        dags = (shape.version.dag for shape in self.shapes if shape.version.dag is not None)
        tasks = (task for dag in dags for task in dag.task_dict.values())
        return frozenset(task.task_id for task in tasks if task.is_setup or task.is_teardown)

    @cached_property
    def clears_whole_runs(self) -> bool:
        """Whether it takes every task instance of its runs, so that no others are around them."""
        if self.total(Effect.LEAVE_OUT, *DAG_CHANGE_EFFECTS):
            return False
        if self.removes_cleared:
            return False
        cleared = self.total(*CLEARED_EFFECTS)
        return task_relations.takes_whole_runs(self.plan_id, self.dag_id, cleared, self.session)

    @cached_property
    def removes_cleared(self) -> bool:
        """Whether a change of the DAG removes task instances that the plan clears."""
        return self.compares_versions and task_relations.removes_cleared(self.plan_id, self.session)

    @cached_property
    def traces(self) -> Traces:
        """The kinds of state that tries have left, for several areas."""
        return look_for_traces(self.dag_id, self.session)

    @cached_property
    def planned_tasks(self) -> Mapping[int, PlannedTasks]:
        """The plan's tasks by shape."""
        return task_relations.planned_tasks(self.plan_id, self.session)

    @cached_property
    def upstream(self) -> Mapping[int, Sequence[Upstream]]:
        """The tasks that the scheduler will handle, and facts on whether they start, by shape."""
        found: dict[int, list[Upstream]] = {}
        for shape in self.shapes:
            if (planned := self.planned_tasks.get(shape.number)) and (dag := shape.version.dag) is not None:
                tasks = (
                    dependencies.upstream_of(dag, task_id) for task_id in shape.tasks_among(planned.pending)
                )
                found[shape.number] = [task for task in tasks if task is not None]
        return found

    def total(self, *effects: str, states: Collection[str] = ()) -> int:
        """Count the task instances with one of the effects and, if given, one of the states."""
        return sum(
            change.count
            for change in self.changes
            if change.effect in effects and (not states or change.before in states)
        )
