"""Upstream task instances that cause a finding for those downstream of them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, or_

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_of_task, exists_row
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.states import DONE_STATES, STAYING_STATES
from safe_clear_plugin.storage.findings.task_relations import (
    is_unchanged,
    map_index_matches,
    predicted_state,
)
from safe_clear_plugin.storage.tables import plan_task_instance


def is_caused_by(
    code: str, relation: FromClause, row: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    """Whether the related task has a task instance that causes the finding for a row, or has none."""
    if code == "never_starts":
        return _is_missing_or_never(relation, row, plan_id, dag_id)
    up = task_instance.alias("upstream")
    return exists_of_task(
        up,
        dag_id,
        up.c.task_id == relation.c.related_task_id,
        up.c.run_id == row.c.run_id,
        map_index_matches(relation, row, up),
        *causes(code, up, plan_id),
    )


def _is_missing_or_never(
    relation: FromClause, row: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    up, planned = task_instance.alias("upstream"), plan_task_instance.alias("planned_upstream")
    there = (
        up.c.run_id == row.c.run_id,
        up.c.task_id == relation.c.related_task_id,
    )
    here = (
        planned.c.plan_id == plan_id,
        planned.c.run_id == row.c.run_id,
        planned.c.task_id == relation.c.related_task_id,
    )
    never = exists_row(planned, *here, planned.c.outcome == Outcome.NEVER_STARTS)
    return or_(never, and_(~exists_of_task(up, dag_id, *there), ~exists_row(planned, *here)))


def causes(code: str, up: FromClause, plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on an upstream task instance that causes the finding for its downstream."""
    if code == "upstream_unfinished":
        yield is_unfinished(up.c.state)
        yield is_unchanged(up, plan_id)
    elif code in ("branch_decides_again", "latest_only_skips"):
        yield func.coalesce(predicted_state(up, plan_id), "").not_in(DONE_STATES)
    elif code == "upstream_failed":
        yield predicted_state(up, plan_id).in_((*STAYING_STATES, "removed"))
    else:
        yield predicted_state(up, plan_id).in_(DONE_STATES)
