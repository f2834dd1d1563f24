"""The changes that the scheduler makes to a cleared dag run's task instances before it looks at their states.

Mirrors ``SchedulerJobRunner._verify_integrity_if_dag_changed``, ``DagRun.verify_integrity``,
``_filter_tis_and_exclude_removed`` and ``DagRun._revise_map_indexes_if_mapped``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from airflow.utils.state import State
from sqlalchemy import ColumnElement, Select, Update, and_, case, false, func, or_, select, true, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import VERSIONLESS_RUNS_MOVE, Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance, task_instance_history
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_one_of, of_dag, without_index
from safe_clear_plugin.airflow_api.platform.key_table import rows_of_keys
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.airflow_api.scheduling.latest_tasks import LatestTasks
from safe_clear_plugin.core.keys import TaskInstanceKey
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
        return update(self.plan.runs).where(*self._will_be_verified(resets)).values(is_verified=True)

    def newly_verified(self, resets: bool) -> Select[Any]:
        """Select the ids of the runs that will be verified, and are not marked."""
        runs = self.plan.runs
        return select(runs.c.run_id).where(
            *self._will_be_verified(resets), runs.c.is_verified.is_distinct_from(true())
        )

    def _will_be_verified(self, resets: bool) -> list[ColumnElement[bool]]:
        runs, rows, latest = self.plan.runs, self.plan.task_instances, self.latest
        gets_it = (
            rows.c.plan_id == runs.c.plan_id,
            rows.c.run_id == runs.c.run_id,
            rows.c.after_dag_version_id == latest,
        )
        of_plan = runs.alias("of_plan")
        here = select(of_plan.c.run_id).where(of_plan.c.plan_id == self.plan.plan_id)
        has_it = [
            *(
                runs.c.run_id.in_(
                    select(table.c.run_id).where(
                        of_dag(table, self.dag_id),
                        is_one_of(table.c.run_id, here),
                        without_index(table.c.dag_version_id) == latest,
                    )
                )
                for table in (task_instance.alias("of_run"), task_instance_history.alias("earlier"))
            ),
            exists_row(rows, *gets_it),
        ]
        if resets and VERSIONLESS_RUNS_MOVE:
            has_it.append(and_(runs.c.after_dag_version_id == latest, self._gets_version_of_run()))
        return [
            *self.plan.is_unfinished_run(),
            func.coalesce(runs.c.after_bundle_version, "") == "",
            *(~condition for condition in has_it),
        ]

    def _gets_version_of_run(self) -> ColumnElement[bool]:
        """Whether the clear gives an unfinished task instance its run's version."""
        ti, runs = task_instance.alias("unpinned"), self.plan.runs
        here = (of_dag(ti, self.dag_id), ti.c.run_id == runs.c.run_id)
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
class CheckedAmong(Checked):
    """Some of the runs that the scheduler compares, by their ids."""

    run_ids: Sequence[str]

    @cached_property
    def verified(self) -> ColumnElement[bool]:
        """Whether a run of the plan is one of these."""
        runs = self.plan.runs
        keys = rows_of_keys([TaskInstanceKey(run_id, "", -1) for run_id in self.run_ids], "among")
        return and_(runs.c.plan_id == self.plan.plan_id, runs.c.run_id.in_(select(keys.c.run_id)))

    def mark(self) -> Update:
        """Return the statement that marks them as verified."""
        return update(self.plan.runs).where(self.verified).values(is_verified=True)

    @property
    def goes_on_moved(self) -> ColumnElement[bool]:
        """No runs."""
        return false()

    def compared(self) -> ColumnElement[bool]:
        """The runs that are verified."""
        return self.verified


@dataclass(frozen=True)
class CheckedWhenExpanded(Checked):
    """Runs that already have the latest version: only their mappings are compared, when these expand."""

    @property
    def verified(self) -> ColumnElement[bool]:
        """No runs."""
        return false()

    @property
    def goes_on_moved(self) -> ColumnElement[bool]:
        """The runs that neither the scheduler nor the clear moves to the latest version."""
        runs = self.plan.runs
        others = (runs.c.is_verified.is_distinct_from(true()), ~runs.c.moves_to_latest)
        return and_(runs.c.uses_dag_version_id == self.latest, *others)

    def compared(self) -> ColumnElement[bool]:
        """Those."""
        return self.goes_on_moved


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
            if row.task_id in tasks.literals and _has_other_length(row, tasks.literals[row.task_id])
        ),
    )


def find_other_lengths(checked: CheckedWhenExpanded, session: Session) -> frozenset[str]:
    """Return the tasks mapped over literals whose map indexes in a run differ from the given lengths."""
    literals = checked.tasks.literals
    if not literals:
        return frozenset()
    of_tasks = _counted(checked).where(task_instance.c.task_id.in_(sorted(literals)))
    found = session.execute(of_tasks)
    return frozenset(row.task_id for row in found if _has_other_length(row, literals[row.task_id]))


def _has_other_length(row: Any, length: int) -> bool:
    return bool(row.unmapped or row.mapped != row.first * length)


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


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
