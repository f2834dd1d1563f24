"""Queries for the task instances that each finding on dependencies concerns.

Every query starts from the plan's runs and the tasks that its relations name, so that it reads no more of
Airflow's task instances than those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_fixed
from safe_clear_plugin.core.effects import (
    CLEARED_EFFECTS,
    MOVED_EFFECTS,
    PENDING_EFFECTS,
    SCHEDULER_EFFECTS,
    Effect,
)
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome, OutcomeReason
from safe_clear_plugin.core.states import PENDING_STATES, STAYING_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.core.undo import RESTORABLE_STATES
from safe_clear_plugin.storage.findings.plan_runs import beside_plan, run_columns
from safe_clear_plugin.storage.findings.run_counts import failed_leaves
from safe_clear_plugin.storage.findings.run_outcomes import starts_too
from safe_clear_plugin.storage.findings.setup_queries import SETUP_KINDS, is_left_out
from safe_clear_plugin.storage.findings.stopped_task_instances import stopped, unfinished_beside
from safe_clear_plugin.storage.findings.task_relations import (
    among,
    depends_on_cleared,
    downstream_tasks,
    is_related,
    is_untouched,
)
from safe_clear_plugin.storage.findings.upstream_causes import is_caused_by
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.rows import planned_with_run
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance
UPSTREAM_KINDS = ("upstream", "one_upstream", "setup", "mapped")
"""Relations to upstream tasks."""

DECISION_REASONS: dict[str, tuple[OutcomeReason, ...]] = {
    "already_skipped": (OutcomeReason.ALREADY_SKIPPED, OutcomeReason.EITHER_RULE),
    "branch_decides_again": (
        OutcomeReason.BRANCH_DECIDES_AGAIN,
        OutcomeReason.BRANCH_OR_NEVER,
        OutcomeReason.BRANCH_OR_FAILED,
        OutcomeReason.UPSTREAM_OPEN,
    ),
    "latest_only_skips": (OutcomeReason.LATEST_ONLY,),
    "waits_for_person": (OutcomeReason.WAITS_FOR_PERSON,),
    "resumes_job": (OutcomeReason.STORED_STATE,),
}
"""The reasons for the outcomes of the task instances that each finding on decisions concerns."""

CHANGE_EFFECTS: dict[str, tuple[Effect, ...]] = {
    "moves_to_latest": MOVED_EFFECTS,
    "scheduler_changes": SCHEDULER_EFFECTS,
}
"""The effects on the task instances that each finding on changes of the DAG concerns."""

UPSTREAM_REASONS = (
    OutcomeReason.UPSTREAM_MISSING,
    OutcomeReason.UPSTREAM_NEVER_STARTS,
    OutcomeReason.TRIGGER_RULE,
)
"""Reasons never to start that lie upstream in the same dag run."""

DOWNSTREAM_CODES = ("stale_downstream", "downstream_stays")
"""Findings on task instances downstream of cleared ones; the others are on cleared ones."""

UPSTREAM_CODES = ("upstream_failed", "upstream_skipped", "upstream_unfinished")
"""Findings on cleared task instances that one upstream of each causes."""


def downstream(plan_id: UUID, dag_id: str, states: Sequence[str], session: Session) -> Select[Any]:
    """Select the task instances in these states that are downstream of cleared ones and not in the plan."""
    ti = task_instance
    return beside_plan(plan_id, dag_id).where(
        ti.c.state.in_(states),
        among(ti.c.task_id, downstream_tasks(plan_id, session)),
        is_untouched(ti, plan_id),
        depends_on_cleared(ti, plan_id),
    )


def _starting_too(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select task instances outside the plan without a state, in finished runs that the clear queues."""
    ti = task_instance
    return beside_plan(plan_id, dag_id).where(
        *PlanScope(plan_id, dag_id).runs(), starts_too(ti), is_untouched(ti, plan_id)
    )


def _planned(plan_id: UUID, effects: Sequence[Effect] = CLEARED_EFFECTS) -> Select[Any]:
    return (
        select(*run_columns(), *row_columns(), rows_.c.foreseen_state)
        .select_from(planned_with_run())
        .where(is_fixed(plan_run.c.plan_id, plan_id), rows_.c.effect.in_(effects))
    )


def _changed(plan_id: UUID, effects: Sequence[Effect]) -> Select[Any]:
    """Select task instances of the plan's runs that change with the DAG, and what they become."""
    becomes = func.coalesce(rows_.c.foreseen_state, rows_.c.after_state).label("foreseen_state")
    return (
        select(*run_columns(), *row_columns(), becomes)
        .select_from(planned_with_run())
        .where(is_fixed(plan_run.c.plan_id, plan_id), rows_.c.effect.in_(effects))
    )


def _predicted(plan_id: UUID, state: str) -> Select[Any]:
    """Select the task instances that trigger rules end immediately, also if a branch may skip them then."""
    ended = _planned(plan_id).where(
        rows_.c.outcome_reason.in_((OutcomeReason.TRIGGER_RULE, OutcomeReason.BRANCH_OR_FAILED))
    )
    return ended.where(rows_.c.foreseen_state == state)


def _for_reason(plan_id: UUID, *reasons: OutcomeReason) -> Select[Any]:
    """Select what the scheduler will look at, created and restored task instances too."""
    return _planned(plan_id, PENDING_EFFECTS).where(rows_.c.outcome_reason.in_(reasons))


def _never_started(plan_id: UUID) -> Select[Any]:
    """Select task instances that never start because of others upstream in their run."""
    return _planned(plan_id).where(
        rows_.c.outcome == Outcome.NEVER_STARTS,
        rows_.c.outcome_reason.in_(UPSTREAM_REASONS),
    )


def _waiting(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select cleared task instances with an unfinished upstream one that is not cleared with them."""
    waits = _upstream_of(rows_, plan_id, dag_id, ("upstream", "setup"), "upstream_unfinished")
    return _planned(plan_id).where(
        rows_.c.foreseen_state.is_(None),
        plan_run.c.after_state.in_(UNFINISHED_RUN_STATES),
        waits,
    )


def _without(code: str, plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select cleared task instances that run again while their setup, or teardown, is left out."""
    relation = plan_relation.alias("relation")
    missed = exists_row(
        relation,
        *is_related(relation, plan_id, (SETUP_KINDS[code],)),
        relation.c.task_id == rows_.c.task_id,
        is_left_out(code, relation, rows_, plan_id, dag_id),
    )
    return _planned(plan_id).where(rows_.c.outcome.in_((*GOES_ON, Outcome.UNKNOWN)), missed)


def _upstream_of(
    row: FromClause, plan_id: UUID, dag_id: str, kinds: Sequence[str], code: str
) -> ColumnElement[bool]:
    """Whether an upstream task instance, direct or setup, causes the finding for a row."""
    relation = plan_relation.alias("relation")
    return exists_row(
        relation,
        *is_related(relation, plan_id, kinds),
        relation.c.task_id == row.c.task_id,
        is_caused_by(code, relation, row, plan_id, dag_id),
    )


AFFECTED_QUERIES: dict[str, Callable[[UUID, str, Session], Select[Any]]] = {
    "stale_downstream": lambda plan_id, dag_id, session: downstream(plan_id, dag_id, ("success",), session),
    "downstream_stays": lambda plan_id, dag_id, session: downstream(plan_id, dag_id, STAYING_STATES, session),
    "upstream_failed": lambda plan_id, *_: _predicted(plan_id, "upstream_failed"),
    "upstream_skipped": lambda plan_id, *_: _predicted(plan_id, "skipped"),
    "backfill_ended": lambda plan_id, *_: _for_reason(plan_id, OutcomeReason.BACKFILL_ENDED),
    "executor_missing": lambda plan_id, *_: _for_reason(plan_id, OutcomeReason.EXECUTOR),
    "trigger_fails": lambda plan_id, *_: _for_reason(plan_id, OutcomeReason.TRIGGER_FAILS),
    "trigger_skips": lambda plan_id, *_: _for_reason(plan_id, OutcomeReason.TRIGGER_SKIPS),
    "pending_cleared": lambda plan_id, *_: _planned(plan_id).where(rows_.c.state.in_(PENDING_STATES)),
    "not_undoable": lambda plan_id, *_: _planned(plan_id).where(rows_.c.state.not_in(RESTORABLE_STATES)),
    "runs_fail": lambda plan_id, dag_id, _: failed_leaves(plan_id, dag_id),
    "fail_fast": lambda plan_id, dag_id, _: unfinished_beside(plan_id, dag_id),
    "pool_blocks": lambda plan_id, *_: _for_reason(plan_id, OutcomeReason.POOL),
    "skipped_stay": lambda plan_id, dag_id, _: stopped(plan_id, dag_id),
    "never_starts": lambda plan_id, *_: _never_started(plan_id),
    "others_start": lambda plan_id, dag_id, _: _starting_too(plan_id, dag_id),
    "upstream_unfinished": lambda plan_id, dag_id, _: _waiting(plan_id, dag_id),
    "setup_left_out": lambda plan_id, dag_id, _: _without("setup_left_out", plan_id, dag_id),
    "teardown_left_out": lambda plan_id, dag_id, _: _without("teardown_left_out", plan_id, dag_id),
    **{
        code: lambda plan_id, *_, effects=effects: _changed(plan_id, effects)
        for code, effects in CHANGE_EFFECTS.items()
    },
    **{
        code: lambda plan_id, *_, reasons=reasons: _for_reason(plan_id, *reasons)
        for code, reasons in DECISION_REASONS.items()
    },
}
"""The query for the task instances of each finding that can list them, by its code."""


def row_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns of planned task instances in a list, without the state that they will have."""
    return (
        rows_.c.task_id,
        rows_.c.map_index,
        rows_.c.state,
        rows_.c.try_number,
        rows_.c.outcome_reason,
        rows_.c.effect,
    )
