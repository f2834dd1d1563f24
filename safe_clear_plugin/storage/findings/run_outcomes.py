"""The outcomes of the dag runs of a plan, by those of their task instances and of those around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of, of_dag
from safe_clear_plugin.airflow_api.platform.key_table import in_parts, rows_of_shapes
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.run_end import FAILED_STATES
from safe_clear_plugin.core.outcomes import MAY_FAIL, Outcome, OutcomeReason, RunOutcome
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.storage.findings.task_relations import is_untouched
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.rows import planned_with_run
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
DECIDING = (Outcome.NEVER_STARTS, Outcome.UPSTREAM_FAILED)
"""Outcomes of task instances that decide how their run ends."""
DOUBTS = (*MAY_FAIL, OutcomeReason.BRANCH_OR_NEVER)
"""Reasons of unknown outcomes that do so too; what a branch skips lets its run succeed."""

NOT_SCHEDULED = (
    OutcomeReason.UPSTREAM_MISSING,
    OutcomeReason.UPSTREAM_NEVER_STARTS,
    OutcomeReason.TRIGGER_RULE,
    OutcomeReason.PREVIOUS_RUN,
)
"""Reasons that leave nothing runnable; what is scheduled without a slot keeps a run open."""


@dataclass(frozen=True, slots=True)
class RunEnds:
    """Tasks that decide how a run ends, with the shapes in which they do."""

    leaves: Mapping[frozenset[str], frozenset[int]]
    """Sets of tasks at the end of the run."""
    keep_open: Mapping[frozenset[str], frozenset[int]]
    """Sets of tasks that keep a run from failing while they do not start."""
    decided: Mapping[frozenset[str], frozenset[int]]
    """Sets of tasks that a branch of the plan decides about: it also skips upstream_failed task instances."""


def has_deciding_rows(scope: PlanScope, session: Session) -> bool:
    """Whether any planned task instance decides how its run ends."""
    found = select(rows_.c.run_id).where(rows_.c.plan_id == scope.plan_id, _is_deciding())
    return session.execute(found.limit(1)).one_or_none() is not None


def write(scope: PlanScope, ends: RunEnds, session: Session, *, whole: bool, deciding: bool) -> int:
    """Write the outcomes of the runs, and return how many do not simply run.

    :param whole: whether there is nothing around what is cleared
    :param deciding: what :func:`has_deciding_rows` returns
    """
    written = 0
    if not whole:
        for part in in_parts(list(ends.leaves.items())):
            beside = _beside(scope, dict(part), ends.decided).cte("beside")
            # Evaluated once, not again for each run that it is joined with.
            beside = beside.prefix_with("MATERIALIZED", dialect="postgresql")
            values = {"outcome": beside.c.outcome, "outcome_reason": beside.c.reason}
            with hash_joins(session):
                written += _update(scope, beside, values, session)
    if deciding:
        decided = _decided(scope, ends).subquery("decided")
        values = {"outcome": decided.c.outcome, "outcome_reason": decided.c.reason}
        written += _update(scope, decided, values, session)
    return written


def _is_deciding() -> ColumnElement[bool]:
    return or_(rows_.c.outcome.in_(DECIDING), rows_.c.outcome_reason.in_(DOUBTS))


def _update(scope: PlanScope, found: FromClause, values: Mapping[str, Any], session: Session) -> int:
    here = (
        plan_run.c.plan_id == scope.plan_id,
        plan_run.c.run_id == found.c.run_id,
        plan_run.c.outcome.in_((RunOutcome.RUNS, RunOutcome.FAILS)),
    )
    return count_written(update(plan_run).where(*here).values(**values), session)


def _beside(
    scope: PlanScope,
    leaves: Mapping[frozenset[str], frozenset[int]],
    decided: Mapping[frozenset[str], frozenset[int]],
) -> Select[Any]:
    """Select the runs whose end task instances outside the plan decide, with outcome and reason.

    Task instances without a state in a finished run start; those that a branch skips have not failed.
    """
    ti = task_instance
    starts, fails = starts_too(ti), _has_failed(leaves, ti)
    stays = and_(fails, ~and_(ti.c.state == "upstream_failed", _is_one(decided, ti)))
    cases = (
        (_any(starts), RunOutcome.UNKNOWN, OutcomeReason.OTHERS_OPEN),
        (_any(stays), RunOutcome.FAILS, OutcomeReason.LEAF_FAILED),
    )
    unknown, again = RunOutcome.UNKNOWN.value, OutcomeReason.BRANCH_DECIDES_AGAIN.value
    return (
        select(plan_run.c.run_id)
        .add_columns(
            case(*((when, outcome.value) for when, outcome, _ in cases), else_=unknown).label("outcome"),
            case(*((when, reason.value) for when, _, reason in cases), else_=again).label("reason"),
        )
        .select_from(_with_task_instances(scope, ti))
        .where(
            *scope.runs(),
            or_(starts, fails),
            is_untouched(ti, scope.plan_id),
            # Also a condition on these rows: without it, a hash join reads all rows of the DAG.
            is_one_of(ti.c.run_id, select(plan_run.c.run_id).where(*scope.runs())),
        )
        .group_by(plan_run.c.run_id)
    )


def _with_task_instances(scope: PlanScope, ti: FromClause) -> FromClause:
    return plan_run.join(ti, and_(of_dag(ti, scope.dag_id), ti.c.run_id == plan_run.c.run_id))


def starts_too(ti: FromClause) -> ColumnElement[bool]:
    """Whether the scheduler starts a task instance outside the plan only because the clear queues its run."""
    return and_(ti.c.state.is_(None), plan_run.c.state.in_(FINISHED_RUN_STATES))


def _has_failed(leaves: Mapping[frozenset[str], frozenset[int]], ti: FromClause) -> ColumnElement[bool]:
    return and_(ti.c.state.in_(FAILED_STATES), _is_one(leaves, ti))


def _decided(scope: PlanScope, ends: RunEnds) -> Select[Any]:
    """Select the runs whose end their planned task instances decide, with outcome and reason.

    A run with a task instance that never starts does not end before the scheduler sees a deadlock.
    """
    leaf, open_ = _as_rows(ends.leaves, "leaves"), _as_rows(ends.keep_open, "keep_open")
    never, is_leaf = rows_.c.outcome == Outcome.NEVER_STARTS, leaf.c.task_id.is_not(None)
    waits = or_(rows_.c.outcome_reason.not_in(NOT_SCHEDULED), open_.c.task_id.is_not(None))
    failed = or_(
        _any(and_(rows_.c.outcome == Outcome.UPSTREAM_FAILED, is_leaf)),
        func.max(plan_run.c.outcome_reason) == OutcomeReason.LEAF_FAILED,
    )
    may_fail = [_any(and_(rows_.c.outcome_reason == reason, is_leaf)) for reason in MAY_FAIL]
    perhaps = _any(rows_.c.outcome_reason == OutcomeReason.BRANCH_OR_NEVER)
    cases = (
        (_any(and_(never, waits)), RunOutcome.NEVER_STARTS, OutcomeReason.NEVER_ENDS),
        (_any(never), RunOutcome.FAILS, OutcomeReason.DEADLOCK),
        (failed, RunOutcome.FAILS, OutcomeReason.LEAF_FAILED),
        *((may, RunOutcome.UNKNOWN, reason) for may, reason in zip(may_fail, MAY_FAIL, strict=True)),
        (perhaps, RunOutcome.UNKNOWN, OutcomeReason.BRANCH_OR_NEVER),
    )
    outcome = case(*((when, outcome.value) for when, outcome, _ in cases), else_=RunOutcome.RUNS.value)
    reason = case(*((when, reason.value) for when, _, reason in cases), else_=null())
    return (
        select(rows_.c.run_id, outcome.label("outcome"), reason.label("reason"))
        .select_from(
            planned_with_run().outerjoin(leaf, _is_of(leaf, rows_)).outerjoin(open_, _is_of(open_, rows_))
        )
        .where(*scope.runs(), _is_deciding())
        .group_by(rows_.c.run_id)
    )


def _as_rows(by_tasks: Mapping[frozenset[str], frozenset[int]], name: str) -> CTE:
    """Return the tasks with each of their shapes as a table: for conditions there may be too many."""
    return rows_of_shapes(
        ((task_id, shape) for tasks, shapes in by_tasks.items() for task_id in tasks for shape in shapes),
        name,
    )


def _is_of(given: CTE, ti: FromClause) -> ColumnElement[bool]:
    return and_(given.c.task_id == ti.c.task_id, given.c.shape == plan_run.c.shape)


def _is_one(by_tasks: Mapping[frozenset[str], frozenset[int]], ti: FromClause) -> ColumnElement[bool]:
    """Whether a task instance is of one of the tasks of its shape."""
    return or_(
        false(),
        *(
            and_(plan_run.c.shape.in_(sorted(shapes)), ti.c.task_id.in_(sorted(tasks)))
            for tasks, shapes in by_tasks.items()
        ),
    )


def _any(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return func.sum(cast(case((condition, 1), else_=0), Integer())) > 0
