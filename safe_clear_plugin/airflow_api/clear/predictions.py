"""The values that ``clear_task_instances`` will leave in a row, as SQL over the row as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from airflow.utils.state import State
from sqlalchemy import ColumnElement, FromClause, Table, Uuid, and_, case, cast, func, literal, null, or_

from safe_clear_plugin.airflow_api.dag.dag_versions import VERSIONLESS_RUNS_MOVE, LatestVersion
from safe_clear_plugin.airflow_api.dag.run_versions import moves_to_latest
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.states import FINISHED_RUN_STATES


@dataclass(frozen=True, slots=True)
class DagRunClear:
    """The options of a clear that decide about its dag runs."""

    resets: bool
    """Whether finished runs are queued again (``dag_run_state``)."""
    on_latest: bool
    latest: LatestVersion

    @property
    def moves(self) -> ColumnElement[bool]:
        """Whether the clear moves a run to the latest DAG version."""
        return and_(literal(self.resets), moves_to_latest(self.on_latest))


@dataclass(frozen=True, slots=True)
class TaskInstanceClear:
    """The options of a clear that decide about the task instances of its dag runs."""

    left_out: ColumnElement[bool]
    """Whether the selection matches a task instance, but leaves it as it is."""
    resets: bool
    latest: UUID
    runs: Table
    """The plan's dag runs, with their own predicted values."""
    tasks: FromClause
    """The tasks that are selected, with ``retries``; none for a task that the DAG does not have."""


def dag_run_state(clear: DagRunClear) -> ColumnElement[Any]:
    """A finished run is queued again; one that goes on keeps its state."""
    finished = dag_run.c.state.in_(FINISHED_RUN_STATES)
    return case((and_(literal(clear.resets), finished), "queued"), else_=dag_run.c.state)


def dag_run_version(clear: DagRunClear) -> ColumnElement[Any]:
    """A run that moves gets the latest DAG version."""
    return case((clear.moves, _uuid(clear.latest.id)), else_=dag_run.c.created_dag_version_id)


def dag_run_bundle_version(clear: DagRunClear) -> ColumnElement[Any]:
    """A run that moves gets the bundle version, unless it goes on and has the latest DAG version already."""
    version = dag_run.c.created_dag_version_id
    gets_bundle = and_(
        clear.moves,
        literal(clear.latest.bundle_version is not None),
        or_(dag_run.c.state.in_(FINISHED_RUN_STATES), version.is_(None), version != _uuid(clear.latest.id)),
    )
    return case((gets_bundle, clear.latest.bundle_version), else_=dag_run.c.bundle_version)


def task_instance_state(clear: TaskInstanceClear) -> ColumnElement[Any]:
    """A running task instance is to be restarted; all others lose their state."""
    state = task_instance.c.state
    return case((clear.left_out, state), (state == "running", "restarting"), else_=null())


def task_instance_max_tries(clear: TaskInstanceClear) -> ColumnElement[Any]:
    """The tries made and the task's retries; without a task, the greater of tries made and maximum."""
    ti, runs = task_instance, clear.runs
    greater = case((ti.c.max_tries > ti.c.try_number, ti.c.max_tries), else_=ti.c.try_number)
    # Where Airflow 3.2 finds no DAG for a run (a bundle version but no DAG version), it knows no retries.
    no_dag = (
        and_(~runs.c.moves_to_latest, runs.c.dag_version_id.is_(None), runs.c.bundle_version.is_not(None))
        if not VERSIONLESS_RUNS_MOVE
        else literal(value=False)
    )
    return case(
        (or_(clear.left_out, ti.c.state == "running"), ti.c.max_tries),
        (or_(clear.tasks.c.retries.is_(None), no_dag), greater),
        else_=ti.c.try_number + clear.tasks.c.retries,
    )


def task_instance_version(clear: TaskInstanceClear) -> ColumnElement[Any]:
    """The latest DAG version in a run that moves there; else its own, or its run's if it had none."""
    ti, runs = task_instance, clear.runs
    untouched = or_(clear.left_out, ti.c.state == "running")
    kept: ColumnElement[Any] = ti.c.dag_version_id
    joins_run: ColumnElement[Any] = kept
    pinned: ColumnElement[Any] = kept
    if VERSIONLESS_RUNS_MOVE:
        joins_run = func.coalesce(kept, runs.c.dag_version_id)
        if clear.resets:
            pinned = func.coalesce(kept, runs.c.after_dag_version_id)
    return case((untouched, pinned), (runs.c.moves_to_latest, _uuid(clear.latest)), else_=joins_run)


def pin_versionless(
    rows: Mapping[TaskInstanceKey, Mapping[str, Any]],
    read_versions: Callable[[Collection[str]], Mapping[str, Any]],
) -> dict[TaskInstanceKey, Mapping[str, Any]]:
    """Return rows as they are once unfinished ones without a DAG version have got their run's.

    Mirrors ``_pin_versionless_tis_to_run_version``: clearing any task instance of a run does this to the
    others. ``read_versions`` returns, for run ids, the version that each run has after the clear.
    """
    pinned = {
        key
        for key, row in rows.items()
        if VERSIONLESS_RUNS_MOVE and row["dag_version_id"] is None and row["state"] in State.unfinished
    }
    versions = read_versions({key.run_id for key in pinned}) if pinned else {}
    return {
        key: {**row, "dag_version_id": versions.get(key.run_id)} if key in pinned else row
        for key, row in rows.items()
    }


def _uuid(value: UUID) -> ColumnElement[Any]:
    return cast(literal(value, Uuid()), Uuid())
