"""Writing a plan: dag runs and task instances by ``INSERT … SELECT``, so that none is held in Python.

Moves to another DAG version are the exception: they are worked out run by run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import LatestVersion
from safe_clear_plugin.airflow_api.dag.version_change import Move
from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.selection.select_runs import Scope, runs_select
from safe_clear_plugin.airflow_api.selection.select_task_instances import (
    task_instances_select,
)
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.inclusion import MOVES_TO_LATEST
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason, RunOutcome
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import FINISHED_RUN_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.storage.rows import is_cleared_run
from safe_clear_plugin.storage.tables import (
    ALL_MAP_INDEXES,
    plan,
    plan_run,
    plan_task,
    plan_task_instance,
)


def insert_plan(values: Mapping[str, Any], session: Session) -> None:
    """Write the plan's own row; its rows refer to it, so it comes first."""
    session.execute(insert(plan).values(**values))


def insert_runs(
    plan_id: UUID,
    scope: Scope,
    on_latest: bool,
    latest: LatestVersion,
    session: Session,
    *,
    shapes: Mapping[UUID, int],
) -> int:
    """Write a row per covered dag run; returns how many."""
    return insert_chosen(plan_run, runs_select(plan_id, scope, on_latest, latest, shapes), session)


def insert_chosen(table: Table, chosen: Select[Any], session: Session) -> int:
    """Write the rows of a query whose columns are named as the table's; returns how many."""
    return count_written(insert(table).from_select(chosen.selected_columns.keys(), chosen), session)


def versions_without_shape(plan_id: UUID, session: Session) -> list[UUID]:
    """Return the DAG versions of runs that came, or moved, while the others were looked at."""
    without = (plan_run.c.plan_id == plan_id, plan_run.c.shape.is_(None))
    found = select(plan_run.c.uses_dag_version_id).where(*without)
    return list(session.scalars(found.distinct()))


def give_shapes(plan_id: UUID, shapes: Mapping[UUID, int], session: Session) -> None:
    """Number the runs of these DAG versions."""
    for version, shape in shapes.items():
        of_version = (plan_run.c.plan_id == plan_id, plan_run.c.uses_dag_version_id == version)
        session.execute(update(plan_run).where(*of_version).values(shape=shape))


def insert_tasks(plan_id: UUID, rows: Iterable[Mapping[str, Any]], session: Session) -> int:
    """Write the tasks that are taken, per shape; ``map_index`` of ``None`` means all. Returns how many."""
    values = [
        {
            "plan_id": plan_id,
            **row,
            "map_index": ALL_MAP_INDEXES if row["map_index"] is None else row["map_index"],
        }
        for row in rows
    ]
    if values:
        session.execute(insert(plan_task), values)
    return len(values)


def insert_task_instances(
    plan_id: UUID, selection: Selection, latest: UUID, session: Session, *, known: bool
) -> int:
    """Write a row per task instance, from the runs and tasks written before; returns how many.

    ``known`` says whether PostgreSQL has statistics of these.
    """
    chosen = task_instances_select(
        plan_id,
        selection,
        latest,
        runs=plan_run,
        tasks=plan_task,
        all_map_indexes=ALL_MAP_INDEXES,
        known=known,
    )
    with hash_joins(session):
        return insert_chosen(plan_task_instance, chosen, session)


def count_task_instances_per_run(plan_id: UUID, runs: int, session: Session) -> None:
    """Count the task instances of each of the ``runs``, and drop the runs that have none.

    PostgreSQL may have no statistics yet of rows that were written a moment ago. So joined rows are counted
    once, for any size that it assumes. A look-up run by run has a value, so PostgreSQL makes no join of it.
    """
    rows, here = plan_task_instance, plan_run.c.plan_id == plan_id
    of_runs = (
        select(rows.c.run_id, func.count(case((rows.c.effect.in_(CLEARED_EFFECTS), 1))).label("cleared"))
        .where(rows.c.plan_id == plan_id)
        .group_by(rows.c.run_id)
        .cte("of_runs")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    counted = (
        update(plan_run)
        .where(here, plan_run.c.run_id == of_runs.c.run_id)
        .values(task_instances=of_runs.c.cleared, **_run_outcome(of_runs.c.cleared))
    )
    with hash_joins(session):
        written = count_written(counted, session)
    if written == runs:
        return
    of_run = (rows.c.plan_id == plan_run.c.plan_id, rows.c.run_id == plan_run.c.run_id)
    anything = select(func.count()).where(*of_run).scalar_subquery()
    session.execute(delete(plan_run).where(here, plan_run.c.task_instances == 0, anything == 0))


def _run_outcome(cleared: ColumnElement[int]) -> dict[str, ColumnElement[Any]]:
    """Return the outcome of a run before anything more is known; none where nothing is cleared."""
    none, goes_on = cleared == 0, plan_run.c.after_state.in_(UNFINISHED_RUN_STATES)
    return {
        "outcome": case((none, null()), (goes_on, RunOutcome.RUNS), else_=RunOutcome.NEVER_STARTS),
        "outcome_reason": case((or_(none, goes_on), null()), else_=OutcomeReason.RUN_NOT_RESET),
    }


def moving_runs(plan_id: UUID, session: Session) -> list[tuple[str, int]]:
    """Return ``(run_id, primary key)`` of the runs that Airflow will bring up to the latest version."""
    rows = session.execute(
        select(plan_run.c.run_id, plan_run.c.dag_run_id).where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.moves_to_latest,
            is_cleared_run(),
            plan_run.c.state.in_(FINISHED_RUN_STATES),
        )
    )
    return [(row.run_id, row.dag_run_id) for row in rows]


def cleared_states(plan_id: UUID, run_id: str, session: Session) -> dict[tuple[str, int], str | None]:
    """Return the state that the clear gives each planned task instance of a run."""
    rows = plan_task_instance
    result = session.execute(
        select(rows.c.task_id, rows.c.map_index, rows.c.after_state).where(
            rows.c.plan_id == plan_id, rows.c.run_id == run_id, rows.c.effect.in_(CLEARED_EFFECTS)
        )
    )
    return {(row.task_id, row.map_index): row.after_state for row in result}


def apply_moves(
    plan_id: UUID,
    run_id: str,
    moves: Iterable[Move],
    *,
    cleared: Mapping[tuple[str, int], str | None],
    latest: UUID,
    pins: bool,
    session: Session,
) -> None:
    """Write the changes that a run's move to the latest DAG version adds to the clear."""
    rows = plan_task_instance
    for move in moves:
        key = and_(
            rows.c.plan_id == plan_id,
            rows.c.run_id == run_id,
            rows.c.task_id == move.task_id,
            rows.c.map_index == move.map_index,
        )
        if (move.task_id, move.map_index) in cleared:
            after: dict[str, Any] = {"after_state": move.after_state, "outcome": _outcome_of(move)}
            if cleared[move.task_id, move.map_index] == "restarting" and move.after_state == "removed":
                # A running one keeps its DAG version, and being finished now it is not given its run's.
                after["after_dag_version_id"] = move.dag_version_id
            session.execute(update(rows).where(key).values(**after))
            continue
        session.execute(delete(rows).where(key))
        session.execute(insert(rows).values(**_moved_row(plan_id, run_id, move, latest, pins=pins)))


def _moved_row(plan_id: UUID, run_id: str, move: Move, latest: UUID, *, pins: bool) -> dict[str, Any]:
    pinned = latest if pins and move.after_state != "removed" else None
    return {
        "plan_id": plan_id,
        "run_id": run_id,
        "task_id": move.task_id,
        "map_index": move.map_index,
        "task_instance_id": move.id,
        "state": move.state,
        "try_number": move.try_number,
        "dag_version_id": move.dag_version_id,
        "effect": move.effect,
        "after_state": move.after_state,
        "after_max_tries": move.after_max_tries,
        "after_dag_version_id": latest if move.effect == "create" else move.dag_version_id or pinned,
        "why": MOVES_TO_LATEST.words,
        "outcome": _outcome_of(move),
    }


def _outcome_of(move: Move) -> Outcome:
    return Outcome.REMOVED if move.after_state == "removed" else Outcome.RUNS


def totals(plan_id: UUID, session: Session) -> tuple[int, int]:
    """Return how many task instances the plan clears, in how many dag runs."""
    task_instances, dag_runs = session.execute(
        select(func.coalesce(func.sum(plan_run.c.task_instances), 0), func.count()).where(
            plan_run.c.plan_id == plan_id, is_cleared_run()
        )
    ).one()
    return task_instances, dag_runs


def finish(plan_id: UUID, values: Mapping[str, Any], session: Session) -> None:
    """Write the values that are known only after the plan's rows are written."""
    session.execute(update(plan).where(plan.c.id == plan_id).values(**values))
