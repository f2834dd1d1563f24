"""Queries that turn a selection into rows, for ``INSERT … SELECT``: no row passes through Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.models.dag import DagModel
from airflow.utils.state import State
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    Uuid,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import VERSIONLESS_RUNS_MOVE
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.key_table import rows_of_keys, rows_of_versions
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.reasons import NOT_IN_DAG
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import FINISHED_RUN_STATES, NO_STATE, RUNNING_STATES


@dataclass(frozen=True, slots=True)
class LatestVersion:
    """The DAG's latest version, and the bundle version that a run moving to it gets (``None``: its own)."""

    id: UUID
    bundle_version: str | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which dag runs a selection covers: its filters, and the dates as past and future have widened them."""

    selection: Selection
    date_from: datetime | None
    date_to: datetime | None
    named: tuple[str, ...]
    """Run ids that the selection is held to; empty when past or future goes beyond the named runs."""


def anchor_runs(selection: Selection, session: Session) -> list[Any]:
    """Return ``(run_id, date)`` of the named runs that the DAG has, date in the selection's date field."""
    date = dag_run.c[selection.date_field]
    return list(
        session.execute(
            select(dag_run.c.run_id, date.label("date")).where(
                dag_run.c.dag_id == selection.dag_id, dag_run.c.run_id.in_(selection.run_id)
            )
        )
    )


def run_conditions(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on ``dag_run`` of a scope."""
    selection = scope.selection
    date = dag_run.c[selection.date_field]
    conditions: list[ColumnElement[bool]] = [dag_run.c.dag_id == selection.dag_id]
    if scope.named:
        conditions.append(dag_run.c.run_id.in_(scope.named))
    else:
        # A run without a logical date comes in by name or by run_after only.
        conditions.append(date.is_not(None))
    if scope.date_from is not None:
        conditions.append(date >= scope.date_from)
    if scope.date_to is not None:
        conditions.append(date <= scope.date_to)
    if selection.exclude_run_id:
        conditions.append(dag_run.c.run_id.not_in(selection.exclude_run_id))
    if selection.run_type:
        conditions.append(dag_run.c.run_type.in_(selection.run_type))
    if selection.run_state:
        conditions.append(dag_run.c.state.in_(selection.run_state))
    return and_(*conditions)


def moves_to_latest(on_latest: bool) -> ColumnElement[bool]:
    """Whether ``clear_task_instances`` moves a run to the latest DAG version (``use_latest_version``)."""
    if on_latest:
        return true()
    if VERSIONLESS_RUNS_MOVE:
        return dag_run.c.created_dag_version_id.is_(None)
    return literal(value=False)


def uses_version(on_latest: bool, latest: UUID | ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the DAG version that a run uses when it re-runs (``DBDagBag._version_from_dag_run``)."""
    own = and_(
        ~moves_to_latest(on_latest),
        dag_run.c.bundle_version.is_not(None),
        dag_run.c.bundle_version != "",
        dag_run.c.created_dag_version_id.is_not(None),
    )
    if isinstance(latest, UUID):
        latest = cast(literal(latest, Uuid()), Uuid())
    return case((own, dag_run.c.created_dag_version_id), else_=latest)


def used_versions(scope: Scope, on_latest: bool, latest: UUID, session: Session) -> list[UUID]:
    """Return the DAG versions that the covered dag runs use when they re-run."""
    query = select(uses_version(on_latest, latest)).where(run_conditions(scope))
    return list(session.scalars(query.distinct()))


def runs_select(
    plan_id: UUID, scope: Scope, on_latest: bool, latest: LatestVersion, shapes: Mapping[UUID, int]
) -> Select[Any]:
    """Select the covered dag runs with what ``clear_task_instances`` makes of each.

    ``shapes`` has a number for each DAG version that may be used. Columns as in ``safe_clear_plan_run``, in
    :data:`RUN_COLUMNS` order.
    """
    uses = uses_version(on_latest, latest.id)
    source, shape = _numbered(uses, shapes)
    reset = scope.selection.reset_dag_runs
    finished = dag_run.c.state.in_(FINISHED_RUN_STATES)
    latest_id = cast(literal(latest.id, Uuid()), Uuid())
    moved = and_(literal(reset), moves_to_latest(on_latest))
    gets_bundle = and_(
        moved,
        literal(latest.bundle_version is not None),
        or_(
            finished,
            dag_run.c.created_dag_version_id.is_(None),
            dag_run.c.created_dag_version_id != latest_id,
        ),
    )
    return (
        select(
            cast(literal(plan_id, Uuid()), Uuid()).label("plan_id"),
            dag_run.c.run_id,
            dag_run.c.id.label("dag_run_id"),
            dag_run.c.logical_date,
            dag_run.c.run_after,
            dag_run.c.run_type,
            dag_run.c.state,
            dag_run.c.clear_number,
            dag_run.c.created_dag_version_id.label("dag_version_id"),
            dag_run.c.bundle_version,
            uses.label("uses_dag_version_id"),
            shape.label("shape"),
            case((moves_to_latest(on_latest), literal(value=True)), else_=literal(value=False)).label(
                "moves_to_latest"
            ),
            case((and_(literal(reset), finished), "queued"), else_=dag_run.c.state).label("after_state"),
            case((moved, latest_id), else_=dag_run.c.created_dag_version_id).label("after_dag_version_id"),
            case((gets_bundle, latest.bundle_version), else_=dag_run.c.bundle_version).label(
                "after_bundle_version"
            ),
        )
        .select_from(source)
        .where(run_conditions(scope))
    )


def _numbered(
    version: ColumnElement[Any], shapes: Mapping[UUID, int]
) -> tuple[FromClause, ColumnElement[Any]]:
    """Return the dag runs with the number of the version that each uses; none for a version without one."""
    numbers = rows_of_versions((id_, number, "") for id_, number in shapes.items())
    return dag_run.outerjoin(numbers, numbers.c.id == version), numbers.c.number


RUN_COLUMNS = (
    "plan_id",
    "run_id",
    "dag_run_id",
    "logical_date",
    "run_after",
    "run_type",
    "state",
    "clear_number",
    "dag_version_id",
    "bundle_version",
    "uses_dag_version_id",
    "shape",
    "moves_to_latest",
    "after_state",
    "after_dag_version_id",
    "after_bundle_version",
)

TASK_INSTANCE_COLUMNS = (
    "plan_id",
    "run_id",
    "task_id",
    "map_index",
    "task_instance_id",
    "state",
    "try_number",
    "dag_version_id",
    "effect",
    "after_state",
    "after_max_tries",
    "after_dag_version_id",
    "why",
)


def task_instances_select(
    plan_id: UUID,
    selection: Selection,
    latest: UUID,
    *,
    runs: Table,
    tasks: Table,
    all_map_indexes: int,
    known: bool,
) -> Select[Any]:
    """Select the task instances of the planned runs with what ``clear_task_instances`` makes of each.

    ``runs`` and ``tasks`` are the plan's own tables, already filled. Without a task regex every task
    instance of a run is taken, also those of tasks that the DAG no longer has. Columns in
    :data:`TASK_INSTANCE_COLUMNS` order.

    While PostgreSQL has no statistics of the two tables (not ``known``), a task is looked up for each task
    instance: it would take each table for a single row, and join each row with each.
    """
    ti = task_instance
    same_task: ColumnElement[bool] = and_(
        tasks.c.plan_id == runs.c.plan_id,
        tasks.c.shape == runs.c.shape,
        tasks.c.task_id == ti.c.task_id,
        or_(tasks.c.map_index == all_map_indexes, tasks.c.map_index == ti.c.map_index),
    )
    taken: FromClause = tasks
    if not known:
        taken, same_task = select(tasks).where(same_task).offset(0).lateral("taken"), true()
    source = runs.join(ti, and_(ti.c.dag_id == selection.dag_id, ti.c.run_id == runs.c.run_id)).join(
        taken, same_task, isouter=not selection.task_regex
    )
    running = ti.c.state.in_(RUNNING_STATES)
    left_out = running if selection.running == "leave_out" else literal(value=False)
    return (
        select(
            cast(literal(plan_id, Uuid()), Uuid()).label("plan_id"),
            ti.c.run_id,
            ti.c.task_id,
            ti.c.map_index,
            ti.c.id.label("task_instance_id"),
            ti.c.state,
            ti.c.try_number,
            ti.c.dag_version_id,
            case((left_out, "leave_out"), (running, "terminate"), else_="clear").label("effect"),
            _after_state(left_out).label("after_state"),
            _after_max_tries(left_out, runs, taken).label("after_max_tries"),
            _after_version(left_out, selection, runs, latest).label("after_dag_version_id"),
            func.coalesce(taken.c.why, NOT_IN_DAG.words).label("why"),
        )
        .select_from(source)
        .where(runs.c.plan_id == plan_id, *task_instance_conditions(selection))
    )


def task_instance_conditions(selection: Selection) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions on ``task_instance`` beside its run and its task."""
    ti = task_instance
    if selection.state:
        yield func.coalesce(ti.c.state, NO_STATE).in_(selection.state)
    if selection.exclude_task_id:
        yield ti.c.task_id.not_in(selection.exclude_task_id)
    if selection.exclude_task_instance:
        keys = rows_of_keys(selection.exclude_task_instance)
        # No part of a key is null. SQLite makes an index of an IN, where it reads all keys for each EXISTS.
        key = tuple_(ti.c.task_id, ti.c.map_index, ti.c.run_id)
        yield key.not_in(select(keys.c.task_id, keys.c.map_index, keys.c.run_id))


def _after_state(left_out: ColumnElement[bool]) -> ColumnElement[Any]:
    state = task_instance.c.state
    return case((left_out, state), (state == "running", "restarting"), else_=null())


def _after_max_tries(left_out: ColumnElement[bool], runs: Table, tasks: FromClause) -> ColumnElement[Any]:
    ti = task_instance
    greater = case((ti.c.max_tries > ti.c.try_number, ti.c.max_tries), else_=ti.c.try_number)
    # Where Airflow 3.2 finds no DAG for a run (a bundle version but no DAG version), it knows no retries.
    no_dag = (
        and_(~runs.c.moves_to_latest, runs.c.dag_version_id.is_(None), runs.c.bundle_version.is_not(None))
        if not VERSIONLESS_RUNS_MOVE
        else literal(value=False)
    )
    return case(
        (or_(left_out, ti.c.state == "running"), ti.c.max_tries),
        (or_(tasks.c.retries.is_(None), no_dag), greater),
        else_=ti.c.try_number + tasks.c.retries,
    )


def _after_version(
    left_out: ColumnElement[bool], selection: Selection, runs: Table, latest: UUID
) -> ColumnElement[Any]:
    ti = task_instance
    untouched = or_(left_out, ti.c.state == "running")
    kept: ColumnElement[Any] = ti.c.dag_version_id
    joins_run: ColumnElement[Any] = kept
    pinned: ColumnElement[Any] = kept
    if VERSIONLESS_RUNS_MOVE:
        joins_run = func.coalesce(kept, runs.c.dag_version_id)
        if selection.reset_dag_runs:
            pinned = func.coalesce(kept, runs.c.after_dag_version_id)
    return case(
        (untouched, pinned),
        (runs.c.moves_to_latest, cast(literal(latest, Uuid()), Uuid())),
        else_=joins_run,
    )


def _is_key_of(ti: Table, keys: FromClause) -> Iterable[ColumnElement[bool]]:
    return (
        keys.c.task_id == ti.c.task_id,
        keys.c.map_index == ti.c.map_index,
        keys.c.run_id == ti.c.run_id,
    )


def missing_task_instances(selection: Selection, session: Session) -> list[Any]:
    """Return the excluded task instances that the DAG does not have."""
    ti = task_instance
    keys = rows_of_keys(selection.exclude_task_instance)
    there = select(ti.c.id).where(ti.c.dag_id == selection.dag_id, *_is_key_of(ti, keys))
    return list(session.execute(select(keys).where(~there.exists())))


def missing_runs(dag_id: str, run_ids: Iterable[str], session: Session) -> list[str]:
    """Return those of the run ids that the DAG does not have, in their order."""
    wanted = list(run_ids)
    query = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id.in_(wanted))
    there = set(session.scalars(query))
    return [run_id for run_id in wanted if run_id not in there]


def is_unfinished(state: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a task instance's state is unfinished, no state included.

    Said so that no index on states serves: those who ask know the dag runs, and just after a clear PostgreSQL
    takes task instances without a state for few, in all of the table.
    """
    return func.coalesce(state, "").in_(["", *(str(value.value) for value in State.unfinished if value)])


def task_ids_with_rows(dag_id: str, task_ids: Iterable[str], session: Session) -> set[str]:
    """Return those of the tasks that have a task instance, be they in the DAG or not."""
    query = select(task_instance.c.task_id).where(
        task_instance.c.dag_id == dag_id, task_instance.c.task_id.in_(list(task_ids))
    )
    return set(session.scalars(query.distinct()))


def bundle_version_of(dag_id: str, session: Session) -> str | None:
    """Return the bundle version that the DAG was last parsed from."""
    return session.scalar(select(DagModel.bundle_version).where(DagModel.dag_id == dag_id))


def pinned(
    rows: Mapping[TaskInstanceKey, Mapping[str, Any]], versions: Mapping[str, Any]
) -> dict[TaskInstanceKey, Mapping[str, Any]]:
    """Return rows as they stand once their runs' DAG versions reach unfinished rows that had none.

    Mirrors ``_pin_versionless_tis_to_run_version``: clearing any task instance of a run does this to the
    others. ``versions`` maps run ids to the version that the run has after the clear.
    """
    if not VERSIONLESS_RUNS_MOVE:
        return dict(rows)
    return {
        key: {**row, "dag_version_id": versions.get(key.run_id)}
        if row["dag_version_id"] is None and row["state"] in State.unfinished
        else row
        for key, row in rows.items()
    }
