"""Queries for the task instances that each finding on dependencies concerns.

Every query starts from the plan's runs and the tasks that its relations name, so that it reads no more of
Airflow's task instances than those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, null, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_fixed
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.core.states import DONE_STATES, STAYING_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.storage.findings.plan_runs import is_cleared_run
from safe_clear_plugin.storage.findings.setup_queries import SETUP_KINDS, is_left_out
from safe_clear_plugin.storage.findings.stopped_task_instances import stopped
from safe_clear_plugin.storage.findings.task_relations import (
    among,
    depends_on_cleared,
    downstream_tasks,
    is_related,
    is_unchanged,
    is_untouched,
    map_index_matches,
    predicted_state,
)
from safe_clear_plugin.storage.rows import planned_with_run
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance
UPSTREAM_KINDS = ("upstream", "one_upstream", "setup", "mapped")
"""Relations to upstream tasks."""

DOWNSTREAM_CODES = ("stale_downstream", "downstream_stays")
"""Findings on task instances downstream of cleared ones; the others are on cleared ones."""

UPSTREAM_CODES = ("upstream_failed", "upstream_skipped", "upstream_unfinished")
"""Findings on cleared task instances that one upstream of each causes."""


def _downstream(plan_id: UUID, dag_id: str, states: Sequence[str], session: Session) -> Select[Any]:
    ti = task_instance
    source = plan_run.join(ti, and_(ti.c.dag_id == dag_id, ti.c.run_id == plan_run.c.run_id))
    return (
        select(*_run_columns(), ti.c.task_id, ti.c.map_index, ti.c.state, ti.c.try_number)
        .add_columns(null().label("foreseen_state"))
        .select_from(source)
        .where(
            is_cleared_run(plan_id),
            ti.c.state.in_(states),
            among(ti.c.task_id, downstream_tasks(plan_id, session)),
            is_untouched(ti, plan_id),
            depends_on_cleared(ti, plan_id),
        )
    )


def _planned(plan_id: UUID) -> Select[Any]:
    return (
        select(*_run_columns(), rows_.c.task_id, rows_.c.map_index, rows_.c.state, rows_.c.try_number)
        .add_columns(rows_.c.foreseen_state)
        .select_from(planned_with_run())
        .where(is_fixed(plan_run.c.plan_id, plan_id), rows_.c.effect.in_(CLEARED_EFFECTS))
    )


def _predicted(plan_id: UUID, state: str) -> Select[Any]:
    return _planned(plan_id).where(rows_.c.foreseen_state == state)


def _with_reason(plan_id: UUID, reason: OutcomeReason) -> Select[Any]:
    return _planned(plan_id).where(rows_.c.outcome_reason == reason)


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
    return _planned(plan_id).where(rows_.c.outcome.in_((Outcome.RUNS, Outcome.UNKNOWN)), missed)


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


def is_caused_by(
    code: str, relation: FromClause, row: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    """Whether the related task has a task instance that causes the finding for a row."""
    up = task_instance.alias("upstream")
    return exists_row(
        up,
        up.c.dag_id == dag_id,
        up.c.task_id == relation.c.related_task_id,
        up.c.run_id == row.c.run_id,
        map_index_matches(relation, row, up),
        *causes(code, up, plan_id),
    )


AFFECTED_QUERIES: dict[str, Callable[[UUID, str, Session], Select[Any]]] = {
    "stale_downstream": lambda plan_id, dag_id, session: _downstream(plan_id, dag_id, ("success",), session),
    "downstream_stays": lambda plan_id, dag_id, session: _downstream(
        plan_id, dag_id, STAYING_STATES, session
    ),
    "upstream_failed": lambda plan_id, *_: _predicted(plan_id, "upstream_failed"),
    "upstream_skipped": lambda plan_id, *_: _predicted(plan_id, "skipped"),
    "backfill_ended": lambda plan_id, *_: _with_reason(plan_id, OutcomeReason.BACKFILL_ENDED),
    "executor_missing": lambda plan_id, *_: _with_reason(plan_id, OutcomeReason.EXECUTOR),
    "pool_blocks": lambda plan_id, *_: _with_reason(plan_id, OutcomeReason.POOL),
    "skipped_stay": lambda plan_id, dag_id, _: stopped(plan_id, dag_id),
    "upstream_unfinished": lambda plan_id, dag_id, _: _waiting(plan_id, dag_id),
    "setup_left_out": lambda plan_id, dag_id, _: _without("setup_left_out", plan_id, dag_id),
    "teardown_left_out": lambda plan_id, dag_id, _: _without("teardown_left_out", plan_id, dag_id),
}
"""The query for the task instances of each finding that can list them, by its code."""


def causes(code: str, up: FromClause, plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on an upstream task instance that causes the finding for its downstream."""
    if code == "upstream_unfinished":
        yield is_unfinished(up.c.state)
        yield is_unchanged(up, plan_id)
    elif code == "upstream_failed":
        yield predicted_state(up, plan_id).in_((*STAYING_STATES, "removed"))
    else:
        yield predicted_state(up, plan_id).in_(DONE_STATES)


def _run_columns() -> tuple[ColumnElement[Any], ...]:
    return (
        plan_run.c.run_id,
        plan_run.c.logical_date,
        plan_run.c.run_after,
        plan_run.c.dag_run_id,
        plan_run.c.shape,
    )
