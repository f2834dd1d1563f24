"""Task instances of a plan that the scheduler will start, by their task in the DAG version of their run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    GenerativeSelect,
    Integer,
    Select,
    String,
    cast,
    null,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import rows_of_shapes, rows_of_versions
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.storage.findings.affected_queries import row_columns
from safe_clear_plugin.storage.findings.plan_runs import is_cleared_run, run_columns
from safe_clear_plugin.storage.rows import plan_tables
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance


def used_versions(plan_id: UUID, session: Session) -> list[UUID]:
    """Return the DAG versions that the plan's cleared runs use."""
    query = select(plan_run.c.uses_dag_version_id).where(is_cleared_run(plan_id))
    return list(session.scalars(query.distinct()))


def rows_of_tasks(
    plan_id: UUID,
    tasks: Mapping[UUID, frozenset[str]],
    runs: Collection[UUID] = (),
    *,
    are_all: bool = False,
) -> GenerativeSelect:
    """Select the task instances of these tasks that will start, and the dag runs of the versions ``runs``.

    ``tasks`` has task ids by DAG version. A dag run is a row without a task id. With ``are_all`` no other
    task instance of the plan will start, which makes a quicker query.
    """
    parts = [_task_instances(plan_id).where(*(() if are_all else _is_of(tasks)))] if tasks else []
    if runs or not tasks:
        parts.append(_dag_runs(plan_id, runs))
    return parts[0] if len(parts) == 1 else union_all(*parts)


def _task_instances(plan_id: UUID) -> Select[Any]:
    of_plan = plan_tables(plan_id)
    return (
        select(*run_columns(), plan_run.c.uses_dag_version_id, *row_columns(), rows_.c.foreseen_state)
        .select_from(of_plan.joined())
        .where(*of_plan.is_to_run(), rows_.c.outcome.is_distinct_from(Outcome.NEVER_STARTS))
    )


def _is_of(tasks: Mapping[UUID, frozenset[str]]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on a task instance of one of the tasks, in their DAG version."""
    numbers = {ids: number for number, ids in enumerate(dict.fromkeys(tasks.values()))}
    versions = rows_of_versions(((version, numbers[ids], "") for version, ids in tasks.items()), "of_tasks")
    given = rows_of_shapes(((task_id, n) for ids, n in numbers.items() for task_id in ids), "affected_tasks")
    uses = plan_run.c.uses_dag_version_id
    if len(numbers) == 1:
        yield uses.in_(select(versions.c.id))
        yield rows_.c.task_id.in_(select(given.c.task_id))
    else:
        of_version = select(versions.c.id, given.c.task_id).join(given, given.c.shape == versions.c.number)
        yield tuple_(uses, rows_.c.task_id).in_(of_version)


def _dag_runs(plan_id: UUID, versions: Collection[UUID]) -> Select[Any]:
    of_plan = plan_tables(plan_id)
    used = rows_of_versions(((version, 0, "") for version in versions), "versions_of_runs")
    return (
        select(*run_columns(), plan_run.c.uses_dag_version_id)
        .add_columns(cast("", String()).label("task_id"), cast(-1, Integer()).label("map_index"))
        .add_columns(plan_run.c.state, cast(null(), Integer()).label("try_number"))
        .add_columns(_no_text("outcome_reason"), _no_text("effect"))
        .add_columns(plan_run.c.after_state.label("foreseen_state"))
        .where(
            *of_plan.is_unfinished_run(),
            of_plan.is_looked_at(),
            plan_run.c.uses_dag_version_id.in_(select(used.c.id)),
        )
    )


def _no_text(name: str) -> ColumnElement[Any]:
    return cast(null(), String()).label(name)
