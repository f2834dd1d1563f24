"""Relations between the tasks that a plan clears and others, and conditions on their task instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, case, func, insert, or_, select, true
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, hash_joins, is_fixed, is_one_of, of_dag
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, PENDING_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.states import FINISHED_STATES
from safe_clear_plugin.storage.findings.plan_runs import is_cleared_run
from safe_clear_plugin.storage.rows import in_runs, of_plan, planned_with_run, same_task_instance
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance
MAX_TASK_IDS = 2_000
"""Task ids that a statement lists; for more, reading all task instances is cheaper."""


def write_relations(plan_id: UUID, by_shape: Mapping[int, Iterable[Relation]], session: Session) -> int:
    """Write the relations of tasks in each shape, each once; return their number."""
    values = [
        {"plan_id": plan_id, "shape": shape, **asdict(relation)}
        for shape, relations in by_shape.items()
        for relation in dict.fromkeys(relations)
    ]
    if values:
        session.execute(insert(plan_relation), values)
    return len(values)


@dataclass(slots=True)
class PlannedTasks:
    """The tasks of one shape that have task instances in the plan."""

    cleared: set[str] = field(default_factory=set)
    everywhere: set[str] = field(default_factory=set)
    """Tasks that are cleared, not mapped, in each cleared run."""
    pending: set[str] = field(default_factory=set)
    """Tasks with a task instance that the scheduler will handle after the clear."""


def planned_tasks(plan_id: UUID, session: Session) -> dict[int, PlannedTasks]:
    """Return the tasks of the plan by shape."""
    runs = _runs_by_shape(plan_id, session)
    query = (
        select(plan_run.c.shape, rows_.c.task_id, rows_.c.effect)
        .add_columns(func.count(case((rows_.c.map_index < 0, 1))).label("unmapped"))
        .select_from(planned_with_run())
        .where(is_fixed(plan_run.c.plan_id, plan_id), rows_.c.effect.in_(PENDING_EFFECTS))
        .group_by(plan_run.c.shape, rows_.c.task_id, rows_.c.effect)
    )
    found: dict[int, PlannedTasks] = {}
    unmapped: Counter[tuple[int, str]] = Counter()
    with hash_joins(session):
        rows = session.execute(query).all()
    for row in rows:
        tasks = found.setdefault(row.shape, PlannedTasks())
        tasks.pending.add(row.task_id)
        if row.effect in CLEARED_EFFECTS:
            tasks.cleared.add(row.task_id)
            unmapped[row.shape, row.task_id] += row.unmapped
    for (shape, task_id), number in unmapped.items():
        if number == runs.get(shape):
            found[shape].everywhere.add(task_id)
    return found


def _runs_by_shape(plan_id: UUID, session: Session) -> dict[int, int]:
    query = select(plan_run.c.shape, func.count().label("n")).where(is_cleared_run(plan_id))
    return {row.shape: row.n for row in session.execute(query.group_by(plan_run.c.shape))}


def takes_whole_runs(plan_id: UUID, dag_id: str, planned: int, session: Session) -> bool:
    """Whether ``planned`` is the number of all task instances in the plan's runs."""
    ti = task_instance
    runs = select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id)
    there = select(func.count()).where(ti.c.dag_id == dag_id, is_one_of(ti.c.run_id, runs))
    return session.scalar(there) == planned


def removes_cleared(plan_id: UUID, session: Session) -> bool:
    """Whether a change of the DAG removes cleared task instances that others may depend on."""
    gone = rows_.c.outcome == Outcome.REMOVED
    return session.scalar(select(rows_.c.run_id).where(of_plan(rows_, plan_id), gone).limit(1)) is not None


def untouched_tasks(
    plan_id: UUID, dag_id: str, task_ids: Collection[str], session: Session
) -> dict[int, set[str]]:
    """Return, by shape, those of the tasks that have a finished task instance outside the plan."""
    ti = task_instance
    query = (
        select(plan_run.c.shape, ti.c.task_id)
        .select_from(ti.join(plan_run, and_(of_dag(ti, dag_id), ti.c.run_id == plan_run.c.run_id)))
        .where(
            is_cleared_run(plan_id),
            in_runs(ti, plan_id),
            among(ti.c.task_id, task_ids),
            ti.c.state.in_(FINISHED_STATES),
            is_untouched(ti, plan_id),
        )
    )
    with hash_joins(session):
        return _by_shape(session.execute(query.distinct()))


def among(task_id: ColumnElement[Any], task_ids: Collection[str]) -> ColumnElement[bool]:
    """Whether it is one of the tasks; true for any task where these are too many to list."""
    return task_id.in_(sorted(task_ids)) if len(task_ids) <= MAX_TASK_IDS else true()


def _by_shape(result: Iterable[Any]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row in result:
        found.setdefault(row.shape, set()).add(row.task_id)
    return found


def is_untouched(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan has no row for a task instance."""
    mine = rows_.alias("of_plan")
    return ~exists_row(mine, of_plan(mine, plan_id), same_task_instance(mine, ti))


def downstream_tasks(plan_id: UUID, session: Session) -> list[str]:
    """Return the tasks downstream of cleared ones in any shape."""
    of_plan = (plan_relation.c.plan_id == plan_id, plan_relation.c.kind == "downstream")
    return list(session.scalars(select(plan_relation.c.task_id).where(*of_plan).distinct()))


def depends_on_cleared(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether a task instance in one of the plan's runs is downstream of one that the plan clears there.

    ``plan_run`` must be in the query, joined by run id.
    """
    relation = plan_relation.alias("relation")
    return exists_row(
        relation,
        *is_related(relation, plan_id, ("downstream",)),
        relation.c.task_id == ti.c.task_id,
        is_cleared(relation, ti, plan_id),
    )


def is_cleared(relation: FromClause, ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan clears the related task in the run of a task instance, at its map index."""
    mine = rows_.alias("cleared")
    return exists_row(
        mine,
        mine.c.plan_id == plan_id,
        mine.c.run_id == ti.c.run_id,
        mine.c.task_id == relation.c.related_task_id,
        mine.c.effect.in_(CLEARED_EFFECTS),
        map_index_matches(relation, mine, ti),
    )


def goes_stale(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether a task instance in one of the plan's runs succeeded on data that the clear will replace."""
    return and_(ti.c.state == "success", is_untouched(ti, plan_id), depends_on_cleared(ti, plan_id))


def predicted_state(ti: FromClause, plan_id: UUID) -> ColumnElement[Any]:
    """Return the state that a task instance will have as far as is known; empty for no state."""
    mine = rows_.alias("predicted")
    planned = (
        select(func.coalesce(mine.c.foreseen_state, mine.c.after_state, ""))
        .where(of_plan(mine, plan_id), same_task_instance(mine, ti))
        .correlate_except(mine)
    )
    return func.coalesce(planned.scalar_subquery(), ti.c.state)


def is_unchanged(ti: FromClause, plan_id: UUID) -> ColumnElement[bool]:
    """Whether the clear does not change a task instance: not in the plan, or left out."""
    mine = rows_.alias("changed")
    return ~exists_row(
        mine, of_plan(mine, plan_id), same_task_instance(mine, ti), mine.c.effect != Effect.LEAVE_OUT
    )


def is_related(relation: FromClause, plan_id: UUID, kinds: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on relations of some kinds in the shape of a run."""
    yield relation.c.plan_id == plan_id
    yield relation.c.kind.in_(kinds)
    yield relation.c.shape == plan_run.c.shape


def map_index_matches(relation: FromClause, one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Whether two task instances of related tasks are related, by their map indexes."""
    return or_(
        ~relation.c.same_map_index,
        one.c.map_index == other.c.map_index,
        one.c.map_index < 0,
        other.c.map_index < 0,
    )
