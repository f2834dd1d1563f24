"""Counts of upstream task instances by final state, if each one that runs succeeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)

from safe_clear_plugin.airflow_api.dag.dependencies import Relation, Upstream
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.core.effects import CREATING_EFFECTS
from safe_clear_plugin.core.outcomes import ENDED_AT_ONCE, Outcome, OutcomeReason
from safe_clear_plugin.core.states import DONE_STATES
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.rows import of_plan, same_task_instance
from safe_clear_plugin.storage.tables import ALL_MAP_INDEXES, plan_run, plan_task_instance

rows_ = plan_task_instance
SUCCESS = literal("success", String(20))
PERHAPS_FAILED = literal("perhaps_failed", String(20))
"""Stands for upstream_failed, unless a branch skips it."""
StateOf = Callable[[FromClause], ColumnElement[Any]]
"""The state in which a planned task instance ends."""


@dataclass(frozen=True, slots=True)
class RulePart:
    """The tasks that one of Airflow's rules counts for a task."""

    kind: str
    relations: Sequence[Relation]
    expected: int | None
    """The number of task instances that it expects; ``None`` means as many as there are."""

    def task_ids(self, *, same: bool | None = None) -> list[str]:
        """Return the tasks that count, or those of them that count by map index or not."""
        found = (r for r in self.relations if same in (None, r.same_map_index))
        return sorted({relation.related_task_id for relation in found})


def rule_parts(task: Upstream) -> list[RulePart]:
    """Return what is counted for a task, in the order in which Airflow looks at it."""
    kinds = (
        ("setup", ("setup",), task.setups),
        ("direct", ("upstream", "one_upstream"), task.direct),
        ("scope", ("scope",), task.in_scope),
        ("mapped", ("mapped",), None),
    )
    found = (
        RulePart(name, [relation for relation in task.all_relations if relation.kind in of_kind], expected)
        for name, of_kind, expected in kinds
    )
    return [part for part in found if part.relations]


def count_upstream(
    scope: PlanScope, task: Upstream, part: RulePart, planned: StateOf | None = None, also: Sequence[str] = ()
) -> FromClause:
    """Count the task instances by run and final state: for all map indexes, or for each one.

    :param planned: the state in which a planned one ends, unless what runs is to succeed
    :param also: states of that kind to count beside those in which task instances are done
    """
    state_of = planned or final_state_of_planned
    parts = _existing(scope, part, state_of).union_all(_created(scope, part, state_of)).subquery("parts")
    setup = parts.c.task_id.in_(sorted(task.direct_setups))
    return (
        select(
            parts.c.run_id,
            parts.c.map_index,
            func.count().label("total"),
            *(_number(_is_state(parts.c.state, name)).label(name) for name in (*DONE_STATES, *also)),
            _number(parts.c.state.in_((Outcome.NEVER_STARTS, Outcome.UNKNOWN))).label("never"),
            _number(parts.c.state == Outcome.UNKNOWN).label("perhaps"),
            _number(parts.c.state == PERHAPS_FAILED).label("perhaps_failed"),
            _number(setup).label("setups"),
            _number(and_(setup, parts.c.state == "success")).label("setups_succeeded"),
            _number(and_(setup, parts.c.state == "skipped")).label("setups_skipped"),
        )
        .group_by(parts.c.run_id, parts.c.map_index)
        .subquery("counts")
    )


def _existing(scope: PlanScope, part: RulePart, planned: StateOf) -> Select[Any]:
    ti = task_instance.alias("up")
    return (
        select(
            ti.c.run_id.label("run_id"),
            _bucket(ti, part).label("map_index"),
            ti.c.task_id.label("task_id"),
            _counted(ti, part, _final_state(ti, scope, planned)).label("state"),
        )
        .select_from(scope.task_instances(ti, part.task_ids()))
        .where(*scope.runs(), *_counts_when(ti, part))
    )


def _created(scope: PlanScope, part: RulePart, planned: StateOf) -> Select[Any]:
    """Select upstream task instances that are not there yet."""
    new = rows_.alias("new")
    state = _counted(new, part, planned(new))
    of_run = and_(new.c.plan_id == plan_run.c.plan_id, new.c.run_id == plan_run.c.run_id)
    return (
        select(new.c.run_id, _bucket(new, part), new.c.task_id, state)
        .select_from(plan_run.join(new, of_run))
        .where(
            *scope.runs(),
            new.c.effect.in_(CREATING_EFFECTS),
            new.c.task_id.in_(part.task_ids()),
            *_counts_when(new, part),
        )
    )


def _counts_when(ti: FromClause, part: RulePart) -> Sequence[ColumnElement[bool]]:
    """Return the condition on task instances of what a mapping is over: the first of each task counts."""
    return [ti.c.map_index <= 0] if part.kind == "mapped" else []


def _counted(ti: FromClause, part: RulePart, state: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the state that counts: ``MappedTaskUpstreamDep`` passes over what has been expanded."""
    return case((ti.c.map_index == 0, SUCCESS), else_=state) if part.kind == "mapped" else state


def _bucket(ti: FromClause, part: RulePart) -> ColumnElement[Any]:
    """Return the map index that an upstream task instance counts for."""
    by_index = ti.c.task_id.in_(part.task_ids(same=True))
    return case((by_index, ti.c.map_index), else_=ALL_MAP_INDEXES)


def _final_state(ti: FromClause, scope: PlanScope, planned: StateOf) -> ColumnElement[Any]:
    """Return the state in which an existing task instance ends; what runs now will succeed."""
    mine = rows_.alias("planned")
    state = (
        select(planned(mine))
        .where(of_plan(mine, scope.plan_id), same_task_instance(mine, ti))
        .correlate_except(mine)
    )
    untouched = case((ti.c.state.in_(DONE_STATES), ti.c.state), else_=SUCCESS)
    return func.coalesce(state.scalar_subquery(), untouched)


def final_state_of_planned(row: FromClause) -> ColumnElement[Any]:
    """Return the state in which a planned task instance ends; what runs, or may run, will succeed."""
    perhaps_never = row.c.outcome_reason == OutcomeReason.BRANCH_OR_NEVER
    keeps = or_(row.c.outcome.in_((*ENDED_AT_ONCE, Outcome.NEVER_STARTS)), perhaps_never)
    perhaps_failed = row.c.outcome_reason == OutcomeReason.BRANCH_OR_FAILED
    return case((keeps, row.c.outcome), (perhaps_failed, PERHAPS_FAILED), else_=SUCCESS)


def _is_state(state: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return state.in_((name, PERHAPS_FAILED)) if name == "upstream_failed" else state == name


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(cast(case((condition, 1), else_=0), Integer()))
