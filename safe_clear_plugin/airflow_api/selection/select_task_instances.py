"""The task instances that a selection takes, as rows for ``INSERT … SELECT``: none passes through Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

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

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.column import shown_and_predicted
from safe_clear_plugin.airflow_api.clear.predictions import TaskInstanceClear
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of, of_dag
from safe_clear_plugin.airflow_api.platform.key_table import is_among, is_named, rows_of_keys
from safe_clear_plugin.airflow_api.selection.failed_task_instances import has_failed
from safe_clear_plugin.core.inclusion import NOT_IN_DAG
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import NO_STATE, RUNNING_STATES, UNFINISHED_RUN_STATES


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
    """Select the task instances of the planned runs with what ``clear_task_instances`` will make of each.

    ``runs`` and ``tasks`` are the plan's own tables, already filled. Without a task regex every task
    instance of a run is taken, also those of tasks that the DAG no longer has. ``known`` says whether
    PostgreSQL has statistics of the two tables. Columns named as in ``safe_clear_plan_task_instance``.
    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    ti, of_plan = task_instance, runs.alias("of_plan")
    taken, same_task = _taken(runs, tasks, all_map_indexes, known=known)
    left_out = is_left_out(ti, selection)
    goes_on = runs.c.after_state.in_(UNFINISHED_RUN_STATES)
    clear = TaskInstanceClear(left_out, selection.reset_dag_runs, latest, runs, taken)
    return (
        select(
            cast(literal(plan_id, Uuid()), Uuid()).label("plan_id"),
            ti.c.run_id,
            ti.c.task_id,
            ti.c.map_index,
            case((left_out, "leave_out"), (ti.c.state.in_(RUNNING_STATES), "terminate"), else_="clear").label(
                "effect"
            ),
            func.coalesce(taken.c.why, NOT_IN_DAG.words).label("why"),
            case((left_out, null()), (goes_on, Outcome.RUNS), else_=Outcome.NEVER_STARTS).label("outcome"),
            case((or_(left_out, goes_on), null()), else_=OutcomeReason.RUN_NOT_RESET).label("outcome_reason"),
            *shown_and_predicted(cleared_columns.TASK_INSTANCE, ti, clear),
        )
        .select_from(selected_rows(selection, runs, taken, same_task))
        .where(
            runs.c.plan_id == plan_id,
            is_one_of(ti.c.run_id, select(of_plan.c.run_id).where(of_plan.c.plan_id == plan_id)),
            *task_instance_conditions(ti, selection),
        )
    )


def _taken(
    runs: Table, tasks: Table, all_map_indexes: int, *, known: bool
) -> tuple[FromClause, ColumnElement[bool]]:
    """Return the tasks that are taken, and the condition that joins them with task instances and their runs.

    While PostgreSQL has no statistics of the tables, a task is looked up for each task instance: it would
    take each table for a single row, and join each row with each.
    """
    same_task = and_(
        tasks.c.plan_id == runs.c.plan_id,
        tasks.c.shape == runs.c.shape,
        tasks.c.task_id == task_instance.c.task_id,
        or_(tasks.c.map_index == all_map_indexes, tasks.c.map_index == task_instance.c.map_index),
    )
    if known:
        return tasks, same_task
    return select(tasks).where(same_task).offset(0).lateral("taken"), true()


def selected_rows(
    selection: Selection, runs: FromClause, tasks: FromClause, same_task: ColumnElement[bool]
) -> FromClause:
    """Join dag runs with their task instances, and with the taken task of each: of any task without a regex.

    :func:`task_instance_conditions` narrows the rows further.
    """
    ti = task_instance
    of_run = and_(of_dag(ti, selection.dag_id), ti.c.run_id == runs.c.run_id)
    return runs.join(ti, of_run).join(tasks, same_task, isouter=not selection.names_tasks)


def is_left_out(ti: FromClause, selection: Selection) -> ColumnElement[bool]:
    """Whether the selection leaves a task instance out because it is running."""
    if selection.running != "leave_out":
        return literal(value=False)
    return func.coalesce(ti.c.state, NO_STATE).in_(RUNNING_STATES)


def task_instance_conditions(ti: FromClause, selection: Selection) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions on a task instance, without those on its run and its task."""
    if selection.state:
        yield func.coalesce(ti.c.state, NO_STATE).in_(selection.state)
    if selection.is_by_failure:
        yield has_failed(ti, selection.failed_from, selection.failed_to)
    if selection.exclude_task_id:
        yield ~is_among(ti.c.task_id, selection.exclude_task_id)
    if selection.exclude_task_instance:
        keys = rows_of_keys(selection.exclude_task_instance)
        # No part of a key is null. SQLite makes an index of an IN, where it reads all keys for each EXISTS.
        key = tuple_(ti.c.task_id, ti.c.map_index, ti.c.run_id)
        yield key.not_in(select(keys.c.task_id, keys.c.map_index, keys.c.run_id))


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


def states_of(
    dag_id: str, run_id: str, task_id: str, map_index: int | None, session: Session
) -> set[str | None]:
    """Return the states of a task's instances in a run, of one map index if that is given."""
    ti = task_instance
    query = select(ti.c.state).where(ti.c.dag_id == dag_id, ti.c.run_id == run_id, ti.c.task_id == task_id)
    if map_index is not None:
        query = query.where(ti.c.map_index == map_index)
    return set(session.scalars(query.distinct()))


def task_ids_with_rows(dag_id: str, task_ids: Iterable[str], session: Session) -> set[str]:
    """Return those of the tasks that have a task instance, be they in the DAG or not."""
    query = select(task_instance.c.task_id).where(
        task_instance.c.dag_id == dag_id, is_named(task_instance.c.task_id, list(task_ids))
    )
    return set(session.scalars(query.distinct()))
