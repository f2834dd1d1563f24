"""Telling PostgreSQL how large a plan is, before statements that join its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Table, TextClause, text
from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.models import (
    before_dag_run,
    before_task_instance,
    plan_relation,
    plan_run,
    plan_task,
    plan_task_instance,
)

SMALL = 500
"""Rows up to which it does not matter how those of a plan are joined."""

OF_SELECTION = (plan_run, plan_task)
OF_PREVIEWS = (plan_run, plan_task_instance, plan_relation)
OF_CLEARS = (before_task_instance, before_dag_run)

LAST = "coalesce(greatest(last_analyze, last_autoanalyze) < :since, true)"
OF_TABLE = "FROM pg_stat_user_tables WHERE relid = to_regclass(:name)"
UNKNOWN = text(f"SELECT {LAST} {OF_TABLE}")
CHANGED = text(f"SELECT n_mod_since_analyze > 0 OR {LAST} {OF_TABLE}")
"""A connection tells of its changes up to some seconds late, but of having analyzed a table at once."""


def refresh(plan: PlanSummary, session: Session) -> None:
    """Analyze the tables that hold plans, if they or the plan have changed since that was last done.

    The planner takes a plan that it has not heard of for a single row, and joins each of its rows with each;
    the autovacuum daemon comes too late for an undo, and never for a small part of a large table. To be
    called in a transaction of its own, since two that analyze the same table wait for each other.
    """
    _refresh(plan, CHANGED, (*OF_PREVIEWS, *OF_CLEARS), session)


def refresh_new(plan: PlanSummary, session: Session) -> None:
    """Analyze what :func:`refresh_within` did not, once a plan has been made."""
    _refresh(plan, UNKNOWN, OF_PREVIEWS, session)


def _refresh(plan: PlanSummary, needed: TextClause, tables: Sequence[Table], session: Session) -> None:
    if plan.task_instances <= SMALL or session.get_bind().dialect.name != "postgresql":
        return
    since = plan.last_step_at or plan.created_at
    for table in tables:
        if session.scalar(needed, {"name": table.fullname, "since": since}):
            session.execute(text(f"ANALYZE {table.fullname}"))


def refresh_within(rows: int, tables: Iterable[Table], session: Session) -> None:
    """Analyze tables of a plan in which this transaction has written rows, so many, that it is about to join.

    Skipped for a table that another transaction analyzes: nothing waits here.
    """
    if rows <= SMALL or session.get_bind().dialect.name != "postgresql":
        return
    for table in tables:
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table.fullname}"))
