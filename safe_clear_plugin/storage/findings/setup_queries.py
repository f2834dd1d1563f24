"""Conditions on setups and teardowns outside a plan whose tasks run again."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, or_

from safe_clear_plugin.airflow_api.dag.dependencies import RelationKind
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_of_task, exists_row
from safe_clear_plugin.core.states import FINISHED_STATES
from safe_clear_plugin.storage.findings.task_relations import is_unchanged, map_index_matches
from safe_clear_plugin.storage.tables import plan_relation

SETUP_KINDS: dict[str, RelationKind] = {
    "setup_left_out": "uses_setup",
    "teardown_left_out": "torn_down_by",
}
"""The findings, each with the relation of a cleared task to the one that is left out."""


def is_left_out(
    code: str, relation: FromClause, row: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    """Whether the related setup or teardown of a row stays as it is, and that is missed."""
    other = task_instance.alias("left_out")
    is_missed = (
        [other.c.state == "success", _was_torn_down(other, relation, plan_id, dag_id)]
        if code == "setup_left_out"
        else [other.c.state.in_(FINISHED_STATES)]
    )
    return exists_of_task(
        other,
        dag_id,
        other.c.task_id == relation.c.related_task_id,
        other.c.run_id == row.c.run_id,
        map_index_matches(relation, row, other),
        is_unchanged(other, plan_id),
        *is_missed,
    )


def _was_torn_down(
    setup: FromClause, relation: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    """Whether a teardown of a setup has run since."""
    torn, teardown = plan_relation.alias("torn_down"), task_instance.alias("teardown")
    has_run = exists_of_task(
        teardown,
        dag_id,
        teardown.c.task_id == torn.c.related_task_id,
        teardown.c.run_id == setup.c.run_id,
        map_index_matches(torn, setup, teardown),
        teardown.c.state.in_(("success", "failed")),
        or_(
            setup.c.end_date.is_(None),
            teardown.c.end_date.is_(None),
            teardown.c.end_date >= setup.c.end_date,
        ),
    )
    return exists_row(
        torn,
        torn.c.plan_id == plan_id,
        torn.c.shape == relation.c.shape,
        torn.c.task_id == setup.c.task_id,
        torn.c.kind == "torn_down_by",
        has_run,
    )
