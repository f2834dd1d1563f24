"""The plan whose facts are collected, with what several areas need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.dag.task_graph import Shape
from safe_clear_plugin.airflow_api.selection.select_runs import Scope
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, MOVED_EFFECTS, SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.plan import StateChange
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
        """What the scheduler will have to do: read once, for several areas."""
        return read_workload(self.plan_id, self.dag_id, self.versions, self.now, self.session)

    @cached_property
    def setups_and_teardowns(self) -> frozenset[str]:
        """The tasks that are a setup or a teardown in any of the DAG versions used."""
        dags = (shape.version.dag for shape in self.shapes if shape.version.dag is not None)
        tasks = (task for dag in dags for task in dag.task_dict.values())
        return frozenset(task.task_id for task in tasks if task.is_setup or task.is_teardown)

    @cached_property
    def clears_whole_runs(self) -> bool:
        """Whether it takes every task instance of its runs, so that no others are around them."""
        if self.total(Effect.LEAVE_OUT, *MOVED_EFFECTS, *SCHEDULER_EFFECTS):
            return False
        if task_relations.removes_map_indexes(self.plan_id, self.session):
            return False
        cleared = self.total(*CLEARED_EFFECTS)
        return task_relations.takes_whole_runs(self.plan_id, self.dag_id, cleared, self.session)

    @cached_property
    def planned_tasks(self) -> Mapping[int, PlannedTasks]:
        """The plan's tasks by shape."""
        return task_relations.planned_tasks(self.plan_id, self.session)

    def total(self, *effects: str, states: Collection[str] = ()) -> int:
        """Count the task instances with one of the effects and, if given, one of the states."""
        return sum(
            change.count
            for change in self.changes
            if change.effect in effects and (not states or change.before in states)
        )
