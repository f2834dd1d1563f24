"""Task instances listed by the settings of their task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import GenerativeSelect
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version, load_versions
from safe_clear_plugin.airflow_api.scheduling import capacity
from safe_clear_plugin.airflow_api.scheduling.capacity import TaskCount
from safe_clear_plugin.findings.workload import task_in_version
from safe_clear_plugin.storage.findings import rows_by_task
from safe_clear_plugin.storage.findings.affected_task_instances import AffectedRow
from safe_clear_plugin.storage.rows import plan_tables

Details = tuple[str, ...]
"""Details of a task or a DAG version: its callbacks, assets or limits."""
Versions = Mapping[UUID, Version]


@dataclass(frozen=True, slots=True)
class AffectedTask:
    """A task in a DAG version that a finding is about."""

    version: UUID
    task_id: str
    instances: int
    """Its task instances that the scheduler will start."""
    details: Details


@dataclass(frozen=True, slots=True)
class TaskList:
    """Finds a finding's tasks, for the preview's count and for the list."""

    tasks: Callable[[Sequence[TaskCount], Versions], Sequence[AffectedTask]]
    heading: str
    """The heading of the column with the details."""
    versions: Callable[[Versions], Mapping[UUID, Details]] | None = None
    """DAG versions whose dag runs are also listed."""
    names_dags: bool = False
    """Whether the details are ids of DAGs, which not every reader may know of."""

    @property
    def lists_runs(self) -> bool:
        """Whether dag runs are also listed."""
        return self.versions is not None


@dataclass(frozen=True, slots=True)
class RowsByTask:
    """The rows of a list by tasks, and the details of each task and DAG version."""

    query: GenerativeSelect
    total: int
    tasks: Mapping[tuple[UUID, str], Details]
    versions: Mapping[UUID, Details]

    def with_details(self, row: AffectedRow) -> AffectedRow:
        """Return the row with the finding's details."""
        version = row.uses_dag_version_id
        assert version is not None
        if row.is_run:
            return replace(row, details=self.versions.get(version, ()))
        # A driver can move a run to another version between the two statements.
        return replace(row, details=self.tasks.get((version, row.task_id), ()))


def find_tasks(
    counts: Sequence[TaskCount], versions: Versions, details_of: Callable[[Any], Details | None]
) -> list[AffectedTask]:
    """Return the tasks that will start and have details."""
    found = []
    for count in counts:
        task = task_in_version(count, versions) if count.instances else None
        if task is not None and (details := details_of(task)) is not None:
            found.append(AffectedTask(count.version, count.task_id, count.instances, details))
    return found


def find_rows(listed: TaskList, plan_id: UUID, session: Session) -> RowsByTask:
    """Find the tasks of a list in the DAG versions as they are now, and select their rows."""
    tables = plan_tables(plan_id)
    used = load_versions(rows_by_task.used_versions(plan_id, session), session)
    counts = capacity.task_counts(tables, session)
    tasks = listed.tasks(counts, used)
    versions = listed.versions(used) if listed.versions else {}
    runs = capacity.runs_by_version(tables, session) if versions else {}
    starting = sum(count.instances for count in counts)
    instances = sum(task.instances for task in tasks)
    by_version: dict[UUID, set[str]] = {}
    for task in tasks:
        by_version.setdefault(task.version, set()).add(task.task_id)
    wanted = {version: frozenset(ids) for version, ids in by_version.items()}
    return RowsByTask(
        rows_by_task.rows_of_tasks(plan_id, wanted, versions, are_all=instances == starting),
        instances + sum(runs.get(version, 0) for version in versions),
        {(task.version, task.task_id): task.details for task in tasks},
        versions,
    )
