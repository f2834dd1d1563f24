"""Telling PostgreSQL how large a plan is, before statements that join its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Table, func, select, text
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import settings_columns
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_task_instance,
    plan_relation,
    plan_run,
    plan_task,
    plan_task_instance,
)

FEWER_ROWS = {"default_statistics_target": "25"}
"""PostgreSQL looks at 300 times as many rows: enough to tell the size of a plan, in a quarter of the time."""
SMALL = 500
"""Rows up to which it does not matter how those of a plan are joined."""

OF_SELECTION = (plan_run, plan_task)
OF_PREVIEWS = (plan_run, plan_task_instance, plan_relation)
OF_CLEARS = (before_task_instance, before_dag_run)

ASKED_FOR = {
    plan_task_instance: (
        "plan_id",
        "run_id",
        "task_id",
        "map_index",
        "task_instance_id",
        "state",
        "effect",
        "after_state",
        "foreseen_state",
    )
}
"""Columns to filter, join or group by until an undo; statistics of the others take longer."""

OF_TABLE = "FROM pg_stat_user_tables WHERE relid = to_regclass(:name)"
SINCE = text(f"SELECT coalesce(last_analyze >= :since, false) {OF_TABLE}")
CHANGED = text(
    "SELECT n_mod_since_analyze > 0 OR coalesce(greatest(last_analyze, last_autoanalyze) < :since, true) "
    + OF_TABLE
)
"""A connection tells of its changes up to some seconds late, but of having analyzed a table at once."""


def refresh(plan: PlanSummary, session: Session) -> None:
    """Analyze the tables that hold plans, if they or the plan have changed since that was last done.

    The planner takes a plan that it has not heard of for a single row, and joins each of its rows with each;
    the autovacuum daemon comes too late for an undo, and never for a small part of a large table. A table
    that another transaction analyzes is skipped: a preview does that, and nobody waits for it.

    A role that does not own the tables gets a warning from PostgreSQL and no statistics, so nothing may rest
    on them alone (:mod:`~safe_clear_plugin.airflow_api.platform.joins`).
    """
    if not _matters(plan.task_instances, session):
        return
    since = plan.last_step_at or plan.created_at
    for table in (*OF_PREVIEWS, *OF_CLEARS):
        if session.scalar(CHANGED, {"name": _quoted(table, session), "since": since}):
            _analyze(table, session)


def refresh_within(rows: int, tables: Iterable[Table], session: Session) -> bool:
    """Analyze tables of a plan in which this transaction has written ``rows`` rows that it is about to join.

    Returns whether that was done, or does not matter; a table that another transaction analyzes is skipped.
    """
    if not _matters(rows, session):
        return True
    # A transaction that has asked for a table's statistics would get the same answer again.
    fewer = settings_columns(FEWER_ROWS, session)
    begun = session.execute(select(func.clock_timestamp(), func.pg_stat_clear_snapshot(), *fewer)).one()[0]
    names = []
    for table in tables:
        _analyze(table, session, ASKED_FOR.get(table, ()))
        names.append(_quoted(table, session))
    return all(session.scalar(SINCE, {"name": name, "since": begun}) for name in names)


def _matters(rows: int, session: Session) -> bool:
    return rows > SMALL and session.get_bind().dialect.name == "postgresql"


def _analyze(table: Table, session: Session, columns: Sequence[str] = ()) -> None:
    only = f" ({', '.join(columns)})" if columns else ""
    session.execute(text(f"ANALYZE (SKIP_LOCKED) {_quoted(table, session)}{only}"))


def _quoted(table: Table, session: Session) -> str:
    """Return the table's name as SQL text has it: that of its schema may need quotes."""
    return session.get_bind().dialect.identifier_preparer.format_table(table)
