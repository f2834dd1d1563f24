"""The states upstream of cleared task instances, and the states that trigger rules set because of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Integer, Select, and_, case, cast, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, of_dag
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import Counts, by_mapping, by_rule, by_setups
from safe_clear_plugin.core.effects import CREATING_EFFECTS
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.core.states import DONE_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.storage.findings.task_relations import among, predicted_state
from safe_clear_plugin.storage.findings.undecided import is_undecided, unless_decided
from safe_clear_plugin.storage.rows import in_runs
from safe_clear_plugin.storage.tables import ALL_MAP_INDEXES, plan_run, plan_task_instance

rows_ = plan_task_instance
MAPPED = ("mapped",)
SETUP = ("setup",)
DIRECT = ("upstream", "one_upstream")


@dataclass(frozen=True, slots=True)
class PlanScope:
    """The runs of one plan with one of these shapes; ``None`` means all shapes."""

    plan_id: UUID
    dag_id: str
    shapes: frozenset[int] | None = None

    def runs(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on runs: only those that the scheduler will handle after the clear."""
        yield plan_run.c.plan_id == self.plan_id
        if self.shapes is not None:
            yield plan_run.c.shape.in_(sorted(self.shapes))
        yield plan_run.c.task_instances > 0
        yield plan_run.c.after_state.in_(UNFINISHED_RUN_STATES)
        yield plan_run.c.outcome_reason.is_distinct_from(OutcomeReason.BACKFILL_ENDED)

    def task_instances(self, ti: FromClause, task_ids: Collection[str]) -> FromClause:
        """Return the runs with their task instances of some tasks."""
        here = and_(of_dag(ti, self.dag_id), ti.c.run_id == plan_run.c.run_id)
        return plan_run.join(ti, and_(here, among(ti.c.task_id, task_ids)))


def states_upstream(
    scope: PlanScope, task_ids: Collection[str], session: Session
) -> dict[int, dict[str, set[str]]]:
    """Return, by shape, the finished states that tasks upstream of planned ones keep."""
    ti = task_instance
    state = predicted_state(ti, scope.plan_id)
    query = select(plan_run.c.shape, ti.c.task_id, state.label("state"))
    query = query.select_from(scope.task_instances(ti, task_ids))
    query = query.where(*scope.runs(), in_runs(ti, scope.plan_id), state.in_(DONE_STATES))
    found: dict[int, dict[str, set[str]]] = {}
    with hash_joins(session):
        rows = session.execute(query.distinct()).all()
    for row in rows:
        found.setdefault(row.shape, {}).setdefault(row.task_id, set()).add(row.state)
    return found


def predict_task(
    scope: PlanScope, task: Upstream, session: Session, reason: OutcomeReason = OutcomeReason.TRIGGER_RULE
) -> bool:
    """Write the states that one task's instances get in this round; return whether there are any.

    Setups come first, as in ``TriggerRuleDep``; the tasks that a mapping expands over come last.
    """
    mine = rows_.alias("waiting")
    changed = 0
    for kinds, expected in ((SETUP, task.setups), (DIRECT, task.direct), (MAPPED, None)):
        if not any(relation.kind in kinds for relation in task.relations):
            continue
        table = _counts(scope, task, kinds)
        becomes = _becomes(task, kinds, Counts(table, expected), mine.c.map_index)
        if becomes is not None:
            changed += _write(scope, task, mine, table, becomes=becomes, reason=reason, session=session)
    return changed > 0


def _becomes(
    task: Upstream, kinds: Sequence[str], counts: Counts, map_index: ColumnElement[Any]
) -> ColumnElement[Any] | None:
    if kinds == SETUP:
        return by_setups(counts, map_index)
    if kinds == MAPPED:
        return by_mapping(counts)
    return by_rule(task.trigger_rule, counts, map_index)


def _counts(scope: PlanScope, task: Upstream, kinds: Sequence[str]) -> FromClause:
    """Count the task instances upstream of a task by run and state: for all map indexes, or for each one."""
    parts = _existing(scope, task, kinds).union_all(_created(scope, task, kinds)).subquery("parts")
    setup = parts.c.task_id.in_(sorted(task.direct_setups))
    return (
        select(
            parts.c.run_id,
            parts.c.map_index,
            func.count().label("total"),
            *(_number(parts.c.state == name).label(name) for name in DONE_STATES),
            _number(setup).label("setups"),
            _number(and_(setup, parts.c.state == "success")).label("setups_succeeded"),
            _number(and_(setup, parts.c.state == "skipped")).label("setups_skipped"),
        )
        .group_by(parts.c.run_id, parts.c.map_index)
        .subquery("counts")
    )


def _existing(scope: PlanScope, task: Upstream, kinds: Sequence[str]) -> Select[Any]:
    ti = task_instance.alias("up")
    return (
        select(
            ti.c.run_id.label("run_id"),
            _bucket(ti, task, kinds).label("map_index"),
            ti.c.task_id.label("task_id"),
            predicted_state(ti, scope.plan_id).label("state"),
        )
        .select_from(scope.task_instances(ti, _related(task, kinds)))
        .where(*scope.runs(), *([ti.c.map_index == -1] if kinds == MAPPED else []))
    )


def _created(scope: PlanScope, task: Upstream, kinds: Sequence[str]) -> Select[Any]:
    """Select upstream task instances that the clear, or the scheduler because of it, will create."""
    mine = rows_.alias("mine")
    of_run = and_(mine.c.plan_id == plan_run.c.plan_id, mine.c.run_id == plan_run.c.run_id)
    return (
        select(
            mine.c.run_id,
            _bucket(mine, task, kinds),
            mine.c.task_id,
            func.coalesce(mine.c.foreseen_state, mine.c.after_state),
        )
        .select_from(plan_run.join(mine, of_run))
        .where(*scope.runs(), mine.c.effect.in_(CREATING_EFFECTS), mine.c.task_id.in_(_related(task, kinds)))
    )


def _related(task: Upstream, kinds: Sequence[str], *, same: bool | None = None) -> list[str]:
    return sorted(
        {
            relation.related_task_id
            for relation in task.relations
            if relation.kind in kinds and same in (None, relation.same_map_index)
        }
    )


def _bucket(ti: FromClause, task: Upstream, kinds: Sequence[str]) -> ColumnElement[Any]:
    """Return the map index that an upstream task instance counts for."""
    by_index = ti.c.task_id.in_(_related(task, kinds, same=True))
    return case((by_index, ti.c.map_index), else_=ALL_MAP_INDEXES)


def _write(
    scope: PlanScope,
    task: Upstream,
    mine: FromClause,
    table: FromClause,
    *,
    becomes: ColumnElement[Any],
    reason: OutcomeReason,
    session: Session,
) -> int:
    verdict = _verdict(scope, task, mine, table, becomes)
    predicted = (
        update(rows_)
        .where(
            rows_.c.plan_id == scope.plan_id,
            rows_.c.task_id == task.task_id,
            rows_.c.run_id == verdict.c.run_id,
            rows_.c.map_index == verdict.c.map_index,
            verdict.c.state.is_not(None),
        )
        .values(foreseen_state=verdict.c.state, **unless_decided(verdict.c.state, reason))
    )
    return count_written(predicted, session)


def _verdict(
    scope: PlanScope, task: Upstream, mine: FromClause, table: FromClause, becomes: ColumnElement[Any]
) -> FromClause:
    """Select the predicted state of each task instance of the task that has no state yet."""
    return (
        select(mine.c.run_id, mine.c.map_index, becomes.label("state"))
        .select_from(mine.join(table, counted_for(task, mine, table)))
        .where(mine.c.task_id == task.task_id, *is_undecided(mine, scope.plan_id))
        .group_by(mine.c.run_id, mine.c.map_index)
        .subquery("verdict")
    )


def counted_for(task: Upstream, mine: FromClause, counts: FromClause) -> ColumnElement[bool]:
    """Whether counts by run and map index are of the upstream task instances of a row of ``mine``."""
    return and_(
        counts.c.run_id == mine.c.run_id,
        or_(
            counts.c.map_index < 0,
            counts.c.map_index == mine.c.map_index,
            *([mine.c.map_index < 0] if task.all_while_unexpanded else []),
        ),
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(cast(case((condition, 1), else_=0), Integer()))
