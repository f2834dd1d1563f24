"""Evidence that the scheduler or an executor has taken a task instance since the clear."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, false, func, not_, or_

from safe_clear_plugin.airflow_api.clear import cleared_columns, locks
from safe_clear_plugin.airflow_api.clear.audit_log import STUCK_EVENT
from safe_clear_plugin.airflow_api.clear.column import present
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_version, log, task_reschedule
from safe_clear_plugin.airflow_api.platform.joins import exists_row, without_index


def has_started(
    before: FromClause,
    live: FromClause,
    *,
    cleared: ColumnElement[bool],
    marked_removed: ColumnElement[bool],
    cleared_at: ColumnElement[datetime | None],
) -> ColumnElement[bool]:
    """Whether a task instance has been queued, started or decided since the clear.

    ``before`` is its row from before the clear, ``cleared`` whether it was cleared or only moved to another
    DAG version, ``marked_removed`` whether it is removed in the DAG: the scheduler itself marks one whose
    task the DAG does not have, which starts nothing.

    A state of none or scheduled alone does not prove that it has not started: a rescheduled or a deferred one
    comes back to scheduled. A try that an executor has seen is spent, so a queued one counts as started, and
    so does one that was queued and came back because its scheduler died or its executor never took it.
    """
    waits = or_(
        live.c.state.is_(None),
        live.c.state == "scheduled",
        and_(marked_removed, live.c.state.is_not_distinct_from("removed")).is_(True),
    )
    written = (
        live.c[column.name].is_distinct_from(column.until_started(before.c[column.name], cleared))
        for column in present(cleared_columns.TASK_INSTANCE, live)
        if column.until_started
    )
    return or_(
        not_(waits),
        *written,
        _was_stuck(live, cleared_at),
        and_(cleared, exists_row(task_reschedule, task_reschedule.c.ti_id == live.c.id)),
    )


def _was_stuck(live: FromClause, since: ColumnElement[datetime | None]) -> ColumnElement[bool]:
    """Whether the scheduler has taken a task instance back since, which leaves no trace in its row."""
    key = (log.c[name] == live.c[name] for name in ("dag_id", "task_id", "run_id", "map_index"))
    later = (without_index(log.c.event) == STUCK_EVENT, without_index(log.c.dttm) >= since)
    return exists_row(log, *key, *later)


def may_be_queued(before: FromClause, live: FromClause) -> ColumnElement[bool]:
    """Whether the scheduler may be about to queue a task instance, and cannot be kept from it.

    Being scheduled raises the try number, which a clear leaves as it is.
    """
    if locks.can_lock_out_scheduler():
        return false()
    tried = live.c.try_number.is_distinct_from(func.coalesce(before.c.try_number, 0))
    return or_(live.c.state == "scheduled", and_(live.c.state.is_(None), tried)).is_(True)


def is_version_removed(version: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a DAG version has been removed since, as ``airflow db clean`` does with an unused one."""
    return and_(version.is_not(None), not_(exists_row(dag_version, dag_version.c.id == version)))
