"""Counts the setups and teardowns that a selection includes in spite of its filter on states."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.selection.live_counts import CoveredRuns
from safe_clear_plugin.airflow_api.selection.select_task_instances import task_instance_conditions
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_counts import Taken
from safe_clear_plugin.core.states import NO_STATE, RUNNING_STATES

Companions = Mapping[UUID, Sequence[Relation]]
"""By DAG version the setups and teardowns, each with a task that it serves."""


def count_companions(
    runs: CoveredRuns,
    name: str,
    companions: Companions,
    taken: Taken,
    *,
    budget: statement_timeout.Budget,
    session: Session,
) -> list[tuple[str, str, int]] | None:
    """Count by task and state those that are in none of the states; ``None`` when there is no time for it."""
    ti, selection = task_instance, runs.selection
    state = func.coalesce(ti.c.state, NO_STATE)
    of_versions = [
        and_(runs.rows.c.version == version, or_(*_serving(relations, taken.get(version), selection)))
        for version, relations in companions.items()
        if relations
    ]
    if not of_versions:
        return []
    query = (
        select(ti.c.task_id, state.label("state"), func.count().label("found"))
        .select_from(
            runs.rows.join(ti, and_(ti.c.dag_id == selection.dag_id, ti.c.run_id == runs.rows.c.run_id))
        )
        .where(
            runs.rows.c[f"in_{name}"] == 1,
            *task_instance_conditions(ti, replace(selection, state=())),
            state.not_in(selection.state),
            or_(*of_versions),
        )
        .group_by(ti.c.task_id, state)
    )
    found = statement_timeout.read(query, budget, session)
    return None if found is None else [(row.task_id, row.state, row.found) for row in found]


def _serving(
    relations: Sequence[Relation], taken: Collection[tuple[str, int | None]] | None, selection: Selection
) -> list[ColumnElement[bool]]:
    """Return for each setup or teardown when it serves a task instance that is cleared."""
    ti, served = task_instance, task_instance.alias("served")
    by_task: dict[str, list[Relation]] = {}
    for relation in relations:
        by_task.setdefault(relation.task_id, []).append(relation)
    cleared = [
        served.c.dag_id == ti.c.dag_id,
        served.c.run_id == ti.c.run_id,
        *task_instance_conditions(served, selection),
    ]
    if selection.running == "leave_out":
        cleared.append(func.coalesce(served.c.state, NO_STATE).not_in(RUNNING_STATES))
    if taken is not None:
        cleared.append(_is_taken(served, taken))
    return [
        and_(ti.c.task_id == task_id, exists_row(served, *cleared, or_(*_of_tasks(served, them))))
        for task_id, them in by_task.items()
    ]


def _is_taken(ti: FromClause, taken: Collection[tuple[str, int | None]]) -> ColumnElement[bool]:
    whole = [task_id for task_id, index in taken if index is None]
    single = (
        and_(ti.c.task_id == task_id, ti.c.map_index == index)
        for task_id, index in taken
        if index is not None
    )
    return or_(ti.c.task_id.in_(whole), *single)


def _of_tasks(served: Any, relations: Sequence[Relation]) -> list[ColumnElement[bool]]:
    ti = task_instance
    anywhere = [relation.related_task_id for relation in relations if not relation.same_map_index]
    beside = [relation.related_task_id for relation in relations if relation.same_map_index]
    same_index = or_(served.c.map_index == ti.c.map_index, served.c.map_index < 0, ti.c.map_index < 0)
    return [served.c.task_id.in_(anywhere), and_(served.c.task_id.in_(beside), same_index)]
