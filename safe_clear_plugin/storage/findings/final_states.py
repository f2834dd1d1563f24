"""Final states that trigger rules set on task instances, if each one that runs succeeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    String,
    and_,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.met_rules import is_met, setups_have_succeeded
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import (
    SKIPS_BEHIND_ONE,
    Counts,
    by_mapping,
    by_rule,
    by_setups,
)
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome, OutcomeReason
from safe_clear_plugin.storage.findings.final_counts import RulePart, count_upstream, rule_parts
from safe_clear_plugin.storage.findings.upstream_states import PlanScope, counted_for
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
NOT_FINAL = (OutcomeReason.BRANCH_DECIDES_AGAIN, OutcomeReason.POOL, OutcomeReason.EXECUTOR)
"""Reasons of outcomes that a trigger rule may still change: it is evaluated before a slot is looked for."""

NEVER = Outcome.NEVER_STARTS.value
UNKNOWN = Outcome.UNKNOWN.value


def foresee_task(scope: PlanScope, task: Upstream, session: Session) -> bool:
    """Write the outcomes of one task's instances that would run. Return whether any of them does not run.

    A state that a rule sets takes precedence over another rule's wait: Airflow checks all rules each time.
    """
    parts = rule_parts(task)
    if len(parts) == 1:
        return _write(scope, task, parts[0], session, steps=(_becomes, _blocks)) > 0
    changed = sum(_write(scope, task, part, session, steps=(_becomes,)) for part in parts)
    return changed + sum(_write(scope, task, part, session, steps=(_blocks,)) for part in parts) > 0


def _becomes(part: RulePart, rule: str, n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the state that the rule sets, or nothing."""
    found: ColumnElement[Any] | None = None
    if part.kind == "setup":
        found = by_setups(n, map_index)
    elif part.kind == "mapped":
        found = by_mapping(n)
    elif part.kind == "direct":
        found = by_rule(rule, n, map_index)
    return null() if found is None else found


def _blocks(part: RulePart, rule: str, n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the outcome if the rule does not let it start, or nothing.

    A mapping is expanded only after all rules are met, and fails over a task that is not there.
    """
    if part.kind == "mapped":
        gone = and_(map_index < 0, n.total < len(part.task_ids()))
        return case((gone, literal("upstream_failed", String(20))), else_=null())
    if part.kind == "setup":
        waits = ~setups_have_succeeded(n, map_index)
    else:
        waits = ~n.all_done if part.kind == "scope" else ~is_met(rule, n, map_index)
    return case((waits, literal(NEVER, String(20))), else_=null())


Step = Callable[[RulePart, str, Counts, ColumnElement[Any]], ColumnElement[Any]]


def _write(
    scope: PlanScope, task: Upstream, part: RulePart, session: Session, *, steps: Sequence[Step]
) -> int:
    mine = rows_.alias("mine")
    table = count_upstream(scope, task, part)
    n = Counts(table, part.expected)
    found = [step(part, task.trigger_rule, n, mine.c.map_index) for step in steps]
    outcome, open_reason = func.coalesce(*found, null()), _open_reason(mine, table, *found)
    columns = (
        case(
            (and_(outcome == NEVER, mine.c.outcome == NEVER, ~_is_kept_by_slots(mine)), null()),
            (open_reason.is_not(None), UNKNOWN),
            (and_(mine.c.outcome == UNKNOWN, ~_is_skipped_anyway(task, part, outcome)), null()),
            else_=outcome,
        ).label("outcome"),
        func.coalesce(open_reason, _reason(n, part, table)).label("reason"),
    )
    verdict = _verdict(scope, task, mine, table, columns)
    return count_written(
        update(rows_)
        .where(
            rows_.c.plan_id == scope.plan_id,
            rows_.c.task_id == task.task_id,
            rows_.c.run_id == verdict.c.run_id,
            rows_.c.map_index == verdict.c.map_index,
            verdict.c.outcome.is_not(None),
        )
        .values(
            outcome=verdict.c.outcome,
            outcome_reason=case(
                (verdict.c.outcome.in_((NEVER, UNKNOWN)), verdict.c.reason),
                else_=_reason_of_state(part, verdict),
            ),
        ),
        session,
    )


def _open_reason(mine: FromClause, table: FromClause, *found: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return why it is open whether it comes to the outcome that is found, or nothing if it is not open."""
    outcome = func.coalesce(*found, null())
    failed_perhaps = func.coalesce(func.sum(table.c.perhaps_failed), 0) > 0
    ends = outcome.in_((Outcome.UPSTREAM_FAILED, Outcome.SKIPPED))
    return case(
        (and_(outcome == NEVER, _is_doubtful(mine, table)), OutcomeReason.BRANCH_OR_NEVER.value),
        (
            and_(outcome == Outcome.UPSTREAM_FAILED, mine.c.outcome == UNKNOWN),
            OutcomeReason.BRANCH_OR_FAILED.value,
        ),
        (and_(ends, failed_perhaps, mine.c.outcome != UNKNOWN), OutcomeReason.UPSTREAM_OPEN.value),
        else_=null(),
    )


def _is_skipped_anyway(task: Upstream, part: RulePart, outcome: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether it is skipped for every decision of a branch, because one upstream task instance is skipped."""
    if part.kind == "direct" and task.trigger_rule not in SKIPS_BEHIND_ONE:
        return false()
    return outcome == Outcome.SKIPPED.value


def _is_kept_by_slots(mine: FromClause) -> ColumnElement[bool]:
    """Whether it lacks a pool or an executor, which Airflow looks at only if the trigger rule is met.

    Without that the task instance is never scheduled, and the run fails instead of waiting for a slot.
    """
    return func.coalesce(mine.c.outcome_reason.in_((OutcomeReason.POOL, OutcomeReason.EXECUTOR)), false())


def _is_doubtful(mine: FromClause, table: FromClause) -> ColumnElement[bool]:
    """Whether a branch may skip it, or what it waits for, so that nobody knows whether it never starts."""
    return or_(mine.c.outcome == UNKNOWN, func.coalesce(func.sum(table.c.perhaps), 0) > 0)


def _reason_of_state(part: RulePart, verdict: FromClause) -> ColumnElement[Any]:
    later = literal(OutcomeReason.TRIGGER_RULE_LATER.value)
    gone = verdict.c.reason == OutcomeReason.UPSTREAM_MISSING
    return case((gone, verdict.c.reason), else_=later) if part.kind == "mapped" else later


def _reason(n: Counts, part: RulePart, table: FromClause) -> ColumnElement[Any]:
    expected = len(part.task_ids()) if part.kind == "mapped" else n.expected
    return case(
        (n.total < expected, OutcomeReason.UPSTREAM_MISSING.value),
        (func.sum(table.c.never) > 0, OutcomeReason.UPSTREAM_NEVER_STARTS.value),
        else_=OutcomeReason.TRIGGER_RULE.value,
    )


def _verdict(
    scope: PlanScope,
    task: Upstream,
    mine: FromClause,
    table: FromClause,
    columns: Sequence[ColumnElement[Any]],
) -> FromClause:
    """Select the outcome of each task instance of the task that would run."""
    of_run = and_(plan_run.c.plan_id == mine.c.plan_id, plan_run.c.run_id == mine.c.run_id)
    return (
        select(mine.c.run_id, mine.c.map_index, *columns)
        .select_from(mine.join(plan_run, of_run).outerjoin(table, counted_for(task, mine, table)))
        .where(
            *scope.runs(),
            mine.c.plan_id == scope.plan_id,
            mine.c.task_id == task.task_id,
            mine.c.effect.in_(PENDING_EFFECTS),
            or_(mine.c.outcome.in_(GOES_ON), mine.c.outcome_reason.in_(NOT_FINAL)),
        )
        .group_by(mine.c.run_id, mine.c.map_index, mine.c.outcome, mine.c.outcome_reason)
        .subquery("verdict")
    )
