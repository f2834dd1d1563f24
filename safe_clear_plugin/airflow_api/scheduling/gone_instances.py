"""Task instances that the scheduler removes or restores, since their DAG has changed.

Mirrors ``DagRun._check_for_removed_or_restored_tasks``, ``_filter_tis_and_exclude_removed`` and what
``_revise_map_indexes_if_mapped`` removes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, case, or_, select

from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.scheduling.integrity import UNFINISHED, Checked
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect


@dataclass(frozen=True)
class Gone:
    """Whether the scheduler removes a task instance, as conditions on its row ``of``."""

    checked: Checked
    of: FromClause
    lengths: FromClause
    """The number of map indexes, in each run, of tasks that are mapped over the results of others."""

    def joined(self, source: FromClause) -> FromClause:
        """Join rows with the latest version's tasks, and with their lengths."""
        tasks, lengths = self.checked.tasks.table, self.lengths
        return source.outerjoin(tasks, tasks.c.task_id == self.of.c.task_id).outerjoin(
            lengths,
            and_(lengths.c.task_id == self.of.c.task_id, lengths.c.run_id == self.of.c.run_id),
        )

    @property
    def task(self) -> ColumnElement[bool]:
        """Whether the version does not have its task."""
        return self.checked.tasks.table.c.task_id.is_(None)

    @property
    def map_index(self) -> ColumnElement[bool]:
        """Whether the mapping does not have its map index.

        A run that is not verified is compared when one of the task's instances is about to start.
        """
        tasks, index = self.checked.tasks.table, self.of.c.map_index
        beyond = and_(tasks.c.number >= 0, index >= tasks.c.number)
        unmapped = and_(tasks.c.number >= 0, index < 0)
        too_long = index >= self.lengths.c.map_index
        verified = and_(self.checked.verified, or_(beyond, unmapped, too_long))
        return or_(verified, and_(self.checked.goes_on_moved, beyond, self._has_pending())).is_(True)

    def __call__(self) -> ColumnElement[bool]:
        """Whether it is removed, for either reason."""
        return or_(self.task, self.map_index)

    def _has_pending(self) -> ColumnElement[bool]:
        rows = self.checked.plan.task_instances.alias("pending")
        return exists_row(
            rows,
            rows.c.plan_id == self.checked.plan.plan_id,
            rows.c.run_id == self.of.c.run_id,
            rows.c.task_id == self.of.c.task_id,
            rows.c.effect.in_(CLEARED_EFFECTS),
        )

    @property
    def compared(self) -> ColumnElement[bool]:
        """Whether the run is compared by the scheduler, not by the clear."""
        return or_(self.checked.verified, self.checked.goes_on_moved)


def unplanned(gone: Gone, task_ids: Collection[str]) -> Select[Any]:
    """Select the task instances outside the plan that the scheduler will remove, or restore.

    With ``gone``, ``task_gone``, and the columns of the task instance.
    """
    checked, ti = gone.checked, gone.of
    runs = checked.plan.runs
    source = gone.joined(runs.join(ti, and_(ti.c.dag_id == checked.dag_id, ti.c.run_id == runs.c.run_id)))
    removed = and_(gone(), ti.c.state.is_distinct_from("removed"))
    restored = and_(checked.verified, ~gone(), ti.c.state == "removed")
    version = case(
        (and_(checked.verified, ti.c.state.in_(UNFINISHED)), checked.latest), else_=ti.c.dag_version_id
    )
    return (
        select(*ti.c)
        .add_columns(
            case((gone(), 1), else_=0).label("gone"),
            case((or_(gone.task, checked.verified), 1), else_=0).label("by_version"),
            version.label("after_dag_version_id"),
        )
        .select_from(source)
        .where(
            *checked.plan.is_unfinished_run(),
            gone.compared,
            ti.c.task_id.in_(sorted(task_ids)),
            or_(removed, restored),
            ~_is_planned(checked.plan, ti),
        )
    )


def _is_planned(plan: PlanTables, ti: FromClause) -> ColumnElement[bool]:
    rows = plan.task_instances.alias("planned")
    return exists_row(
        rows, rows.c.plan_id == plan.plan_id, *_same(rows, ti), rows.c.effect != Effect.LEAVE_OUT.value
    )


def _same(one: FromClause, other: FromClause) -> Iterable[ColumnElement[bool]]:
    return (one.c[name] == other.c[name] for name in ("run_id", "task_id", "map_index"))


def planned_and_gone(gone: Gone, effects: Sequence[str]) -> Select[Any]:
    """Select run_id, task_id, map_index of planned task instances that the scheduler will remove.

    With ``task_gone``: whether their task is gone, not only their map index.
    """
    checked, rows = gone.checked, gone.of
    return (
        select(rows.c.run_id, rows.c.task_id, rows.c.map_index)
        .add_columns(case((gone.task, 1), else_=0).label("task_gone"))
        .select_from(gone.joined(checked.plan.joined()))
        .where(
            rows.c.plan_id == checked.plan.plan_id,
            rows.c.effect.in_(effects),
            *checked.plan.is_unfinished_run(),
            gone.compared,
            gone(),
        )
    )
