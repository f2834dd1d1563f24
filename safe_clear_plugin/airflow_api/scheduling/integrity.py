"""What the scheduler makes of the task instances of a cleared dag run before it looks at their states.

Mirrors ``SchedulerJobRunner._verify_integrity_if_dag_changed``, ``DagRun.verify_integrity``,
``_filter_tis_and_exclude_removed`` and ``DagRun._revise_map_indexes_if_mapped``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from airflow.utils.state import State
from sqlalchemy import ColumnElement, FromClause, Select, Update, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import VERSIONLESS_RUNS_MOVE, Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance, task_instance_history
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_one_of
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.airflow_api.scheduling.latest_tasks import LatestTasks
from safe_clear_plugin.airflow_api.scheduling.plan_tables import PlanTables
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.states import UNFINISHED_RUN_STATES

UNFINISHED = sorted(str(state) for state in State.unfinished if state is not None)


@dataclass(frozen=True)
class Checked:
    """The runs that the scheduler compares with the latest DAG version, and that version's tasks."""

    plan: PlanTables
    dag_id: str
    version: Version
    """The latest one."""

    @property
    def latest(self) -> UUID:
        """Its id."""
        return self.version.id

    @cached_property
    def tasks(self) -> LatestTasks:
        """Its tasks."""
        return LatestTasks.of(self.version.dag)

    def mark_verified(self, resets: bool) -> Update:
        """Return the statement that marks the runs that will be verified.

        These have no bundle version and, after the clear, neither a task instance nor an earlier try with
        the latest version (``DagRun.check_version_id_exists_in_dr``).
        """
        runs, rows, latest = self.plan.runs, self.plan.task_instances, self.latest
        gets_it = (
            rows.c.plan_id == runs.c.plan_id,
            rows.c.run_id == runs.c.run_id,
            rows.c.after_dag_version_id == latest,
        )
        has_it = [
            *(
                exists_row(
                    table,
                    table.c.dag_id == self.dag_id,
                    table.c.run_id == runs.c.run_id,
                    table.c.dag_version_id == latest,
                )
                for table in (task_instance.alias("of_run"), task_instance_history.alias("earlier"))
            ),
            exists_row(rows, *gets_it),
        ]
        if resets and VERSIONLESS_RUNS_MOVE:
            has_it.append(and_(runs.c.after_dag_version_id == latest, self._gets_version_of_run()))
        return (
            update(runs)
            .where(
                *self.plan.is_unfinished_run(),
                func.coalesce(runs.c.after_bundle_version, "") == "",
                *(~condition for condition in has_it),
            )
            .values(is_verified=True)
        )

    def _gets_version_of_run(self) -> ColumnElement[bool]:
        """Whether the clear gives an unfinished task instance its run's version."""
        ti, runs = task_instance.alias("unpinned"), self.plan.runs
        here = (ti.c.dag_id == self.dag_id, ti.c.run_id == runs.c.run_id)
        return exists_row(ti, *here, ti.c.dag_version_id.is_(None), is_unfinished(ti.c.state))

    @property
    def verified(self) -> ColumnElement[bool]:
        """Whether a run of the plan will be verified."""
        return self.plan.runs.c.is_verified.is_(True)

    @property
    def goes_on_moved(self) -> ColumnElement[bool]:
        """Whether a run goes on, and the clear moves it to the latest version: not verified by it either."""
        runs = self.plan.runs
        return and_(runs.c.moves_to_latest, runs.c.state.in_(UNFINISHED_RUN_STATES))

    def runs(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Select the ids of the runs that the scheduler will handle, and that meet the conditions."""
        runs = self.plan.runs
        return select(runs.c.run_id).where(*self.plan.is_unfinished_run(), *conditions)

    def compared(self) -> ColumnElement[bool]:
        """Whether a run comes to the latest version by the clear or after it."""
        return or_(self.verified, self.plan.runs.c.moves_to_latest)


@dataclass(frozen=True)
class Differences:
    """Tasks that differ from the latest version in at least one run."""

    changed: frozenset[str]
    """With task instances to remove or to restore."""
    missing: frozenset[str]
    """That a run lacks."""
    expanding: frozenset[str]
    """Mapped over literals, with other map indexes than these."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.expanding)


def find_differences(checked: Checked, runs: int, session: Session) -> Differences:
    """Compare the task instances of the runs, by task, with the latest version: one statement.

    ``runs`` is how many runs are compared.
    """
    tasks, found = checked.tasks, session.execute(_counted(checked)).all()
    known = {row.task_id for row in found if (row.unmapped or row.first) == runs and not _is_mixed(row)}
    return Differences(
        changed=frozenset(row.task_id for row in found if _differs(row, tasks)),
        missing=frozenset(tasks.dag.task_dict.keys() - known),
        expanding=frozenset(
            row.task_id
            for row in found
            if row.task_id in tasks.literals
            and (row.unmapped or row.mapped != row.first * tasks.literals[row.task_id])
        ),
    )


def _counted(checked: Checked) -> Select[Any]:
    ti = task_instance
    return (
        select(
            ti.c.task_id,
            func.count().label("rows"),
            _number(ti.c.state == "removed").label("removed"),
            _number(ti.c.map_index < 0).label("unmapped"),
            _number(ti.c.map_index == 0).label("first"),
            _number(ti.c.map_index >= 0).label("mapped"),
            func.max(ti.c.map_index).label("highest"),
        )
        .where(ti.c.dag_id == checked.dag_id, is_one_of(ti.c.run_id, checked.runs(checked.compared())))
        .group_by(ti.c.task_id)
    )


def _is_mixed(row: Any) -> bool:
    """Whether it is not known in how many runs the task is: some have it mapped, some not, or both."""
    return bool(row.unmapped and row.first)


def _differs(row: Any, tasks: LatestTasks) -> bool:
    if row.task_id not in tasks.dag.task_dict:
        return bool(row.rows > row.removed)
    literals = tasks.literals.get(row.task_id)
    misfits = literals is not None and (row.highest >= literals or row.unmapped)
    return bool(row.removed or misfits or row.task_id in tasks.by_results)


@dataclass(frozen=True)
class Gone:
    """Whether the scheduler removes a task instance, as conditions on its row ``of``."""

    checked: Checked
    of: FromClause
    lengths: FromClause
    """How many map indexes tasks have in their runs that are mapped over the results of others."""

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


def missing_tasks(checked: Checked, task_ids: Collection[str]) -> Select[Any]:
    """Select run_id and task_id of tasks that verified runs lack; those that are not due are left out."""
    ti, runs, tasks = task_instance.alias("there"), checked.plan.runs, checked.tasks.table
    there = exists_row(
        ti,
        ti.c.dag_id == checked.dag_id,
        ti.c.run_id == runs.c.run_id,
        ti.c.task_id == tasks.c.task_id,
    )
    return (
        select(runs.c.run_id, tasks.c.task_id)
        .select_from(runs.join(tasks, tasks.c.task_id.in_(sorted(task_ids))))
        .where(
            *checked.plan.is_unfinished_run(),
            checked.verified,
            checked.tasks.is_due(runs, tasks.c.task_id),
            ~there,
        )
    )


def missing_instances(checked: Checked, task_ids: Collection[str]) -> Select[Any]:
    """Select run_id, task_id, map_index, retries of what ``verify_integrity`` creates of these tasks."""
    missing = missing_tasks(checked, set(task_ids) - set(checked.tasks.by_results)).subquery("missing")
    indexes = checked.tasks.indexes(task_ids)
    return select(
        missing.c.run_id, missing.c.task_id, indexes.c.number.label("map_index"), indexes.c.retries
    ).join(indexes, indexes.c.task_id == missing.c.task_id)


def later_expanded(checked: Checked, task_ids: Collection[str], pending: Sequence[str]) -> Select[Any]:
    """Select the same of what is created when a task that is mapped over literals is about to start.

    That is when one of its task instances, planned with one of the effects ``pending``, is ready.
    """
    plan, ti, indexes = checked.plan, task_instance.alias("there"), checked.tasks.indexes(task_ids)
    rows = plan.task_instances
    ready = (
        select(rows.c.run_id, rows.c.task_id, func.min(rows.c.map_index).label("lowest"))
        .select_from(plan.joined())
        .where(
            *plan.is_to_run(),
            checked.compared(),
            rows.c.task_id.in_(sorted(task_ids)),
            rows.c.effect.in_(pending),
            rows.c.after_state.is_(None),
        )
        .group_by(rows.c.run_id, rows.c.task_id)
        .subquery("ready")
    )
    planned = rows.alias("planned")
    here = (
        ti.c.run_id == ready.c.run_id,
        ti.c.task_id == ready.c.task_id,
        ti.c.map_index == indexes.c.number,
    )
    in_plan = (
        planned.c.run_id == ready.c.run_id,
        planned.c.task_id == ready.c.task_id,
        planned.c.map_index == indexes.c.number,
    )
    return (
        select(ready.c.run_id, ready.c.task_id, indexes.c.number.label("map_index"), indexes.c.retries)
        .join(indexes, indexes.c.task_id == ready.c.task_id)
        .where(
            indexes.c.number >= 0,
            # The one that stands for all of them becomes the first.
            or_(ready.c.lowest >= 0, indexes.c.number > 0),
            ~exists_row(ti, ti.c.dag_id == checked.dag_id, *here),
            ~exists_row(planned, planned.c.plan_id == plan.plan_id, *in_plan),
        )
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
