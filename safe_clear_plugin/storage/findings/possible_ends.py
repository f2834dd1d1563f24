"""What a trigger rule makes of upstream task instances that end as Skipped or as Upstream Failed.

Which of the two it sees, or whether it sees first one and then the other, depends on when the scheduler
looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
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
from safe_clear_plugin.airflow_api.scheduling.met_rules import is_met
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import Counts, by_rule, total
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.storage.findings.final_counts import (
    RulePart,
    count_upstream,
    final_state_of_planned,
    rule_parts,
)
from safe_clear_plugin.storage.findings.overruled_states import WITH_TWO_ENDS, is_overruled
from safe_clear_plugin.storage.findings.upstream_states import PlanScope, counted_for
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
EITHER, FAILED = OutcomeReason.EITHER_RULE, OutcomeReason.BRANCH_OR_FAILED
DECIDES, OPEN = OutcomeReason.BRANCH_DECIDES_AGAIN, OutcomeReason.UPSTREAM_OPEN
ENDS: dict[OutcomeReason, tuple[str, ...]] = {
    EITHER: ("upstream_failed", "skipped"),
    FAILED: ("upstream_failed", "skipped"),
    DECIDES: ("success", "skipped"),
    OPEN: ("success", "upstream_failed", "skipped"),
}
"""The states in which an open task instance ends, by the reason of its outcome."""


def follow(scope: PlanScope, task: Upstream, session: Session, *, skipped_directly: bool) -> bool:
    """Write which of a task's instances end otherwise, as what is upstream ends; return whether any does.

    :param skipped_directly: whether an operator skips the task itself in old runs, whatever its trigger rule
    """
    parts = [part for part in rule_parts(task) if part.kind != "scope"]
    written = [_write(scope, task, part, session, skipped_directly=skipped_directly) for part in parts]
    return any(written)


def _write(
    scope: PlanScope, task: Upstream, part: RulePart, session: Session, *, skipped_directly: bool
) -> bool:
    mine = rows_.alias("mine")
    found = _reasons(scope, task, part, mine)
    if skipped_directly:
        found = found.where(mine.c.outcome_reason.is_distinct_from(OutcomeReason.LATEST_ONLY))
    verdict = found.subquery("verdict")
    written = (
        update(rows_)
        .where(
            rows_.c.plan_id == scope.plan_id,
            rows_.c.task_id == task.task_id,
            rows_.c.run_id == verdict.c.run_id,
            rows_.c.map_index == verdict.c.map_index,
            verdict.c.reason.is_not(None),
        )
        .values(
            outcome=Outcome.UNKNOWN.value,
            outcome_reason=verdict.c.reason,
            foreseen_state=case((verdict.c.reason.in_(WITH_TWO_ENDS), rows_.c.foreseen_state), else_=null()),
        )
    )
    return count_written(written, session) > 0


def _state(row: FromClause) -> ColumnElement[Any]:
    """Return the state of a planned task instance, or the reason why that is open."""
    is_open = and_(row.c.outcome == Outcome.UNKNOWN, row.c.outcome_reason.in_(tuple(ENDS)))
    return case(
        (is_open, row.c.outcome_reason),
        (is_overruled(row), literal(FAILED.value, String(20))),
        else_=final_state_of_planned(row),
    )


def _possible_ends(
    task: Upstream, part: RulePart, table: FromClause, mine: FromClause
) -> dict[str, ColumnElement[bool]]:
    """Return for each state whether a task instance may end in it; "success" stands for running."""
    rule = task.trigger_rule if part.kind == "direct" else "all_success"
    counts = Counts(table, part.expected)
    found: dict[str, list[ColumnElement[bool]]] = {}
    for combination in _combinations():
        n = counts.plus(**{state: _sum_of(table, combination, state) for state in ENDS[OPEN]})
        end = _end(rule, n, mine.c.map_index)
        for state in ("success", "upstream_failed", "skipped"):
            found.setdefault(state, []).append(end == state)
    # An open decision about itself adds what it may become without its trigger rule.
    two = mine.c.outcome_reason.in_(WITH_TWO_ENDS)
    found["skipped"].append(func.coalesce(or_(two, mine.c.outcome_reason == DECIDES), false()))
    found["upstream_failed"].append(func.coalesce(two, false()))
    return {state: or_(*conditions) for state, conditions in found.items()}


def _combinations() -> Iterator[dict[OutcomeReason, str]]:
    """Yield in which state all the open ones of each kind end."""
    for either, decides, open_ in product(ENDS[EITHER], ENDS[DECIDES], ENDS[OPEN]):
        yield {EITHER: either, FAILED: either, DECIDES: decides, OPEN: open_}


def _sum_of(table: FromClause, combination: dict[OutcomeReason, str], state: str) -> ColumnElement[Any]:
    here = [total(table.c[reason.value]) for reason, end in combination.items() if end == state]
    return sum(here, start=literal(0))


def _end(rule: str, n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any]:
    set_state = by_rule(rule, n, map_index)
    runs = case((is_met(rule, n, map_index), literal("success", String(20))), else_=literal("", String(20)))
    return runs if set_state is None else func.coalesce(set_state, runs)


def _reason(ends: dict[str, ColumnElement[bool]], table: FromClause) -> ColumnElement[Any]:
    """Return why the end is open; nothing if there is one only, or nothing upstream is open."""
    runs, fails, skips = ends["success"], ends["upstream_failed"], ends["skipped"]
    both = total(table.c[EITHER.value]) + total(table.c[FAILED.value]) + total(table.c[OPEN.value])
    return case(
        (both == 0, null()),
        (and_(runs, fails), literal(OPEN.value, String(40))),
        (and_(runs, skips), literal(DECIDES.value, String(40))),
        (and_(fails, skips, total(table.c[EITHER.value]) > 0), literal(EITHER.value, String(40))),
        (and_(fails, skips), literal(FAILED.value, String(40))),
        else_=null(),
    )


def _reasons(scope: PlanScope, task: Upstream, part: RulePart, mine: FromClause) -> Select[Any]:
    """Select for each of the task's instances why its end is open."""
    table = count_upstream(scope, task, part, _state, tuple(ENDS))
    reason = _reason(_possible_ends(task, part, table, mine), table)
    of_run = and_(plan_run.c.plan_id == mine.c.plan_id, plan_run.c.run_id == mine.c.run_id)
    return (
        select(mine.c.run_id, mine.c.map_index, reason.label("reason"))
        .select_from(mine.join(plan_run, of_run).join(table, counted_for(task, mine, table)))
        .where(
            *scope.runs(),
            mine.c.plan_id == scope.plan_id,
            mine.c.task_id == task.task_id,
            mine.c.effect.in_(PENDING_EFFECTS),
            mine.c.outcome.not_in((Outcome.REMOVED, Outcome.NEVER_STARTS)),
        )
        .group_by(mine.c.run_id, mine.c.map_index, mine.c.outcome, mine.c.outcome_reason)
    )
