"""Task instances outside a plan that were skipped because their dag run was stopped, or that will be."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.states import STAYING_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.storage.findings.plan_runs import beside_plan
from safe_clear_plugin.storage.findings.task_relations import (
    depends_on_cleared,
    is_related,
    is_unchanged,
    is_untouched,
)
from safe_clear_plugin.storage.tables import plan_relation, plan_run


def stopped(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select the skipped ones of failed runs that nothing in the DAG explains.

    A timeout sets the state alone, so that they have no end. ``fail_fast`` gives those an end that never
    started. Those downstream of a cleared one are another finding.
    """
    ti = task_instance
    return beside_plan(plan_id, dag_id).where(
        plan_run.c.state == "failed",
        plan_run.c.after_state.in_(UNFINISHED_RUN_STATES),
        ti.c.state == "skipped",
        is_untouched(ti, plan_id),
        ~depends_on_cleared(ti, plan_id),
        or_(ti.c.end_date.is_(None), and_(_never_started(ti), _is_unexplained(ti, plan_id, dag_id))),
    )


def _never_started(ti: FromClause) -> ColumnElement[bool]:
    """Whether it did not start since its run did, so that it cannot have skipped itself."""
    run = dag_run.alias("of_stopped")
    ended_before = (run.c.id == plan_run.c.dag_run_id, ti.c.end_date < run.c.start_date)
    return or_(ti.c.pid.is_(None), exists_row(run, *ended_before))


def _is_unexplained(ti: FromClause, plan_id: UUID, dag_id: str) -> ColumnElement[bool]:
    itself, before = plan_relation.alias("itself"), plan_relation.alias("before")
    parent = task_instance.alias("parent")
    ended = exists_row(
        parent,
        parent.c.dag_id == dag_id,
        parent.c.run_id == ti.c.run_id,
        parent.c.task_id == before.c.related_task_id,
        parent.c.state.in_(STAYING_STATES),
    )
    return and_(
        exists_row(itself, *is_related(itself, plan_id, ("stopped",)), itself.c.task_id == ti.c.task_id),
        ~exists_row(
            before, *is_related(before, plan_id, ("follows",)), before.c.task_id == ti.c.task_id, ended
        ),
    )


def count_unfinished_beside(plan_id: UUID, dag_id: str, session: Session) -> int:
    """Count them."""
    found = unfinished_beside(plan_id, dag_id).subquery("found")
    return session.scalar(select(func.count()).select_from(found)) or 0


def unfinished_beside(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Select the unfinished task instances outside the plan in the runs in which it clears some."""
    ti = task_instance
    return beside_plan(plan_id, dag_id).where(is_unfinished(ti.c.state), is_unchanged(ti, plan_id))
