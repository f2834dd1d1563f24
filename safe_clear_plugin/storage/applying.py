"""The steps of a plan from ready to applied, each a compare-and-set on its row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Select, and_, func, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import CLEARED_EFFECTS
from safe_clear_plugin.storage.models import plan, plan_run, plan_task_instance
from safe_clear_plugin.storage.reading import RUN_ORDER


@dataclass(frozen=True, slots=True)
class RunToClear:
    """A dag run of the plan with the columns that it is to have after the clear."""

    run_id: str
    dag_run_id: int
    task_instances: int
    clear_number: int
    after: Mapping[str, Any]


def transition(
    plan_id: UUID,
    before: str,
    after: str,
    session: Session,
    *,
    unexpired_at: datetime | None = None,
    **values: Any,
) -> bool:
    """Move the plan from one status to another, if it still has the first one. Returns whether it did.

    With ``unexpired_at``, also only if the plan holds beyond that moment. Being a write, it takes SQLite's
    write lock and PostgreSQL's lock on the plan's row before anything else is read in the transaction.
    """
    conditions = [plan.c.id == plan_id, plan.c.status == before]
    if unexpired_at is not None:
        conditions.append(plan.c.expires_at > unexpired_at)
    result: CursorResult[Any] = session.execute(  # type: ignore[assignment]
        update(plan).where(and_(*conditions)).values(status=after, **values)
    )
    return result.rowcount == 1


def runs_to_clear(plan_id: UUID, session: Session) -> Iterator[RunToClear]:
    """Yield the plan's dag runs that have not been cleared yet, in clearing order."""
    rows = session.execute(
        select(plan_run)
        .where(plan_run.c.plan_id == plan_id, plan_run.c.task_instances > 0, plan_run.c.applied_at.is_(None))
        .order_by(*RUN_ORDER)
    )
    for row in rows:
        yield RunToClear(
            run_id=row.run_id,
            dag_run_id=row.dag_run_id,
            task_instances=row.task_instances,
            clear_number=row.clear_number,
            after={
                "state": row.after_state,
                "dag_version_id": row.after_dag_version_id,
                "bundle_version": row.after_bundle_version,
            },
        )


def last_step_at(plan_id: UUID, session: Session) -> datetime | None:
    """Return when the plan's clearing last got something done: its newest run, or its start."""
    newest = session.scalar(select(func.max(plan_run.c.applied_at)).where(plan_run.c.plan_id == plan_id))
    return newest or session.scalar(select(plan.c.applied_at).where(plan.c.id == plan_id))


def is_being_cleared(plan_id: UUID, session: Session) -> bool:
    """Whether a transaction holds the plan's row, which every clearing one does (PostgreSQL only)."""
    free = select(plan.c.id).where(plan.c.id == plan_id).with_for_update(skip_locked=True)
    return session.execute(free).one_or_none() is None


def mark_runs_applied(plan_id: UUID, run_ids: Sequence[str], at: datetime, session: Session) -> bool:
    """Record that runs are cleared, in the transaction that clears them. Says whether they were not yet."""
    result: CursorResult[Any] = session.execute(  # type: ignore[assignment]
        update(plan_run)
        .where(plan_run.c.plan_id == plan_id, plan_run.c.run_id.in_(run_ids), plan_run.c.applied_at.is_(None))
        .values(applied_at=at)
    )
    return bool(result.rowcount)


def planned_rows(
    plan_id: UUID, run_ids: Sequence[str], session: Session
) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the columns that the task instances of a batch are to have after the clear, by key."""
    rows = plan_task_instance
    result = session.execute(
        select(rows).where(
            rows.c.plan_id == plan_id, rows.c.run_id.in_(run_ids), rows.c.effect != "leave_out"
        )
    )
    return {
        (row.run_id, row.task_id, row.map_index): {
            "state": row.after_state,
            "try_number": row.try_number or 0,
            "max_tries": row.after_max_tries,
            "dag_version_id": row.after_dag_version_id,
            "new_id": row.effect in CLEARED_EFFECTS,
        }
        for row in result
    }


def audit_select(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select what the audit log says of each task instance of a batch."""
    rows = plan_task_instance
    return (
        select(
            rows.c.run_id,
            plan_run.c.logical_date,
            rows.c.task_id,
            rows.c.map_index,
            rows.c.try_number,
            rows.c.state,
            rows.c.effect,
        )
        .join(plan_run, and_(plan_run.c.plan_id == rows.c.plan_id, plan_run.c.run_id == rows.c.run_id))
        .where(rows.c.plan_id == plan_id, rows.c.run_id.in_(run_ids), rows.c.effect.in_(CLEARED_EFFECTS))
    )
