"""How the tasks that a plan clears are related to others, and what that says of single task instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, insert, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.base import task_instance
from safe_clear_plugin.airflow_api.joins import is_one_of, there_is
from safe_clear_plugin.airflow_api.relations import Relation
from safe_clear_plugin.core.plan import CLEARED_EFFECTS
from safe_clear_plugin.storage.models import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance
FINISHED_STATES = ("success", "failed", "upstream_failed", "skipped")


def write_relations(
    plan_id: UUID, dag_version_id: UUID, relations: Iterable[Relation], session: Session
) -> None:
    """Write how tasks of a DAG version are related, each relation once."""
    of_version = {"plan_id": plan_id, "dag_version_id": dag_version_id}
    values = [{**of_version, **asdict(relation)} for relation in dict.fromkeys(relations)]
    if values:
        session.execute(insert(plan_relation), values)


def planned_tasks(plan_id: UUID, effects: Sequence[str], session: Session) -> dict[UUID, set[str]]:
    """Return, by DAG version, the tasks that have task instances with one of the effects."""
    result = session.execute(
        select(plan_run.c.uses_dag_version_id, rows_.c.task_id)
        .join(rows_, and_(rows_.c.plan_id == plan_run.c.plan_id, rows_.c.run_id == plan_run.c.run_id))
        .where(plan_run.c.plan_id == plan_id, rows_.c.effect.in_(effects))
        .distinct()
    )
    found: dict[UUID, set[str]] = {}
    for row in result:
        found.setdefault(row.uses_dag_version_id, set()).add(row.task_id)
    return found


def takes_whole_runs(plan_id: UUID, dag_id: str, planned: int, session: Session) -> bool:
    """Whether so many rows of task instances that are there, as a plan has, are all of its runs'."""
    ti = task_instance
    runs = select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id)
    there = select(func.count()).where(ti.c.dag_id == dag_id, is_one_of(ti.c.run_id, runs))
    return session.scalar(there) == planned


def untouched_tasks(
    plan_id: UUID, dag_id: str, dag_version_id: UUID, task_ids: Sequence[str], session: Session
) -> set[str]:
    """Return those of the tasks that have finished in a run of the version without being in the plan."""
    ti = task_instance
    query = (
        select(ti.c.task_id)
        .join(plan_run, and_(ti.c.dag_id == dag_id, ti.c.run_id == plan_run.c.run_id))
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.uses_dag_version_id == dag_version_id,
            plan_run.c.task_instances > 0,
            ti.c.task_id.in_(task_ids),
            ti.c.state.in_(FINISHED_STATES),
            is_untouched(ti, plan_id),
        )
    )
    return set(session.scalars(query.distinct()))


def is_untouched(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan has no row for a task instance."""
    mine = rows_.alias("of_plan")
    return ~there_is(mine, *same_key(mine, ti, plan_id))


def rests_on_cleared(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether a task instance in one of the plan's runs lies downstream of one that the plan clears there.

    ``plan_run`` must be in the query, joined by run id.
    """
    relation = plan_relation.alias("relation")
    return there_is(
        relation,
        *relates(relation, plan_id, ("downstream",)),
        relation.c.related_task_id == ti.c.task_id,
        is_cleared(relation, ti, plan_id),
    )


def is_cleared(relation: FromClause, ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan clears the task of a relation in the run of a task instance, at its map index."""
    mine = rows_.alias("cleared")
    return there_is(
        mine,
        mine.c.plan_id == plan_id,
        mine.c.run_id == ti.c.run_id,
        mine.c.task_id == relation.c.task_id,
        mine.c.effect.in_(CLEARED_EFFECTS),
        map_indexes_meet(relation, mine, ti),
    )


def goes_stale(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether a task instance in one of the plan's runs succeeded on data that the clear makes anew."""
    return and_(ti.c.state == "success", is_untouched(ti, plan_id), rests_on_cleared(ti, plan_id))


def foreseen_state(ti: FromClause, plan_id: UUID) -> ColumnElement[Any]:
    """Return the state that a task instance will have, as far as it is known; without one it is empty."""
    mine = rows_.alias("foreseen")
    planned = (
        select(func.coalesce(mine.c.foreseen_state, mine.c.after_state, ""))
        .where(*same_key(mine, ti, plan_id))
        .correlate_except(mine)
    )
    return func.coalesce(planned.scalar_subquery(), ti.c.state)


def is_kept(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the clear leaves a task instance as it is: not in the plan, or left out of it."""
    mine = rows_.alias("changed")
    return ~there_is(mine, *same_key(mine, ti, plan_id), mine.c.effect != "leave_out")


def relates(relation: FromClause, plan_id: UUID, kinds: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on relations of some kinds in the DAG version that a run uses."""
    yield relation.c.plan_id == plan_id
    yield relation.c.kind.in_(kinds)
    yield relation.c.dag_version_id == plan_run.c.uses_dag_version_id


def map_indexes_meet(relation: FromClause, one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Whether two task instances of related tasks have to do with each other."""
    return or_(
        ~relation.c.same_map_index,
        one.c.map_index == other.c.map_index,
        one.c.map_index < 0,
        other.c.map_index < 0,
    )


def same_key(mine: FromClause, ti: FromClause, plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions by which a row of the plan is that of a task instance."""
    yield mine.c.plan_id == plan_id
    for name in ("run_id", "task_id", "map_index"):
        yield mine.c[name] == ti.c[name]
