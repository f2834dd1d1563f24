"""The task instances that a selection takes, as rows for ``INSERT … SELECT``: none passes through Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
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
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.platform.key_table import rows_of_keys
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.inclusion import NOT_IN_DAG, Reason, ReasonKind
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
    """
    ti = task_instance
    taken, same_task = _taken(runs, tasks, all_map_indexes, known=known)
    source = runs.join(ti, and_(ti.c.dag_id == selection.dag_id, ti.c.run_id == runs.c.run_id)).join(
        taken, same_task, isouter=not selection.task_regex
    )
    running = ti.c.state.in_(RUNNING_STATES)
    left_out = running if selection.running == "leave_out" else literal(value=False)
    goes_on = runs.c.after_state.in_(UNFINISHED_RUN_STATES)
    clear = TaskInstanceClear(left_out, selection.reset_dag_runs, latest, runs, taken)
    return (
        select(
            cast(literal(plan_id, Uuid()), Uuid()).label("plan_id"),
            ti.c.run_id,
            ti.c.task_id,
            ti.c.map_index,
            case((left_out, "leave_out"), (running, "terminate"), else_="clear").label("effect"),
            func.coalesce(taken.c.why, NOT_IN_DAG.words).label("why"),
            case((left_out, null()), (goes_on, Outcome.RUNS), else_=Outcome.NEVER_STARTS).label("outcome"),
            case((or_(left_out, goes_on), null()), else_=OutcomeReason.RUN_NOT_RESET).label("outcome_reason"),
            *shown_and_predicted(cleared_columns.TASK_INSTANCE, ti, clear),
        )
        .select_from(source)
        .where(runs.c.plan_id == plan_id, *task_instance_conditions(ti, selection))
    )


def companions_select(
    plan_id: UUID,
    selection: Selection,
    latest: UUID,
    *,
    runs: Table,
    tasks: Table,
    relations: Table,
    planned: Table,
    all_map_indexes: int,
    known: bool,
) -> Select[Any]:
    """Select the setups and teardowns of what is planned already that the states did not let through.

    ``relations`` says which tasks these serve. Other tables and columns as :func:`task_instances_select`.
    """
    whatever_state = replace(selection, state=())
    chosen = task_instances_select(
        plan_id, whatever_state, latest, runs=runs, tasks=tasks, all_map_indexes=all_map_indexes, known=known
    )
    ti, serves, served = task_instance, relations.alias("serves"), planned.alias("served")
    of_task = and_(
        serves.c.plan_id == plan_id,
        serves.c.shape == runs.c.shape,
        serves.c.task_id == ti.c.task_id,
        serves.c.kind.in_(("setup_for", "teardown_for")),
    )
    is_cleared = exists_row(
        served,
        served.c.plan_id == plan_id,
        served.c.run_id == ti.c.run_id,
        served.c.task_id == serves.c.related_task_id,
        served.c.effect.in_(CLEARED_EFFECTS),
        or_(~serves.c.same_map_index, served.c.map_index == ti.c.map_index, served.c.map_index < 0)
        | (ti.c.map_index < 0),
    )
    words = case(
        (serves.c.kind == "setup_for", Reason(ReasonKind.SETUP).words),
        else_=Reason(ReasonKind.TEARDOWN).words,
    )
    why = select(func.min(words.concat(serves.c.related_task_id))).where(of_task, is_cleared)
    columns = [
        why.scalar_subquery().label("why") if column.name == "why" else column
        for column in chosen.selected_columns
    ]
    return chosen.with_only_columns(*columns).where(
        func.coalesce(ti.c.state, NO_STATE).not_in(selection.state),
        exists_row(serves, of_task, is_cleared),
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


def task_instance_conditions(ti: FromClause, selection: Selection) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions on a task instance beside its run and its task."""
    if selection.state:
        yield func.coalesce(ti.c.state, NO_STATE).in_(selection.state)
    if selection.exclude_task_id:
        yield ti.c.task_id.not_in(selection.exclude_task_id)
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
        task_instance.c.dag_id == dag_id, task_instance.c.task_id.in_(list(task_ids))
    )
    return set(session.scalars(query.distinct()))
