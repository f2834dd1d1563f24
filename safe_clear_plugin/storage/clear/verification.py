"""Whether a clear made of a batch what the plan says.

What undo and resume go by is written only where the result is as planned, so the row counts of these UPDATEs
say whether all is. Where they do not, the rows are compared one by one, to say which are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import clear_runs
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.selection import selection_queries
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, COVERED_EFFECTS
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.mismatch import Mismatch, Row, mismatches
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.clear.batches import Batch
from safe_clear_plugin.storage.clear.before_images import of_plan, same_key
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

COMPARED = ("id", "state", "try_number", "max_tries", "dag_version_id")
"""Columns that a plan speaks of."""


def verify(
    plan: PlanSummary,
    batch: Batch,
    before: Mapping[TaskInstanceKey, Row],
    locked: Set[UUID],
    *,
    at: datetime,
    session: Session,
) -> list[Mismatch]:
    """Record what the clear of a batch did, and return what of it is otherwise than planned.

    Of a batch in which anything is, not all is recorded: it must not be committed.

    ``before`` are the task instances that :func:`read_others` found before it. Those of them that are not
    ``locked`` are free to go on.
    """
    plan_id, run_ids = UUID(plan.id), batch.run_ids
    covered = batch.of(*COVERED_EFFECTS)
    right = note_new_ids(plan_id, plan.dag_id, run_ids, session)
    right_runs = note_applied(plan, batch, at, session, size=None if before else covered)
    as_planned = right == covered and right_runs == len(batch.runs)
    if as_planned and not before:
        return []
    if plan.selection.reset_dag_runs:
        before = selection_queries.pinned(
            before, {run.run_id: run.after["dag_version_id"] for run in batch.runs}
        )
    free = {key for key, row in before.items() if row["id"] not in locked}
    bound = _without(before, free)
    if as_planned:
        others = _without(read_others(plan_id, plan.dag_id, run_ids, session), free)
        return list(mismatches({}, others, bound))
    planned = planned_rows(plan_id, run_ids, session)
    found = _without(read_all(plan.dag_id, run_ids, session), free)
    wrong = [*mismatches(planned, found, bound), *_wrong_runs(plan, batch, session)]
    # Whatever the rows say by now: what did not count as planned is not.
    return wrong or list(_too_few(covered, right, batch, right_runs))


def _too_few(covered: int, right: int, batch: Batch, right_runs: int) -> Iterator[Mismatch]:
    if right != covered:
        yield Mismatch("the batch", "task instances as planned", str(covered), str(right))
    if right_runs != len(batch.runs):
        yield Mismatch("the batch", "dag runs as planned", str(len(batch.runs)), str(right_runs))


def _without(rows: Mapping[TaskInstanceKey, Row], keys: Set[TaskInstanceKey]) -> dict[TaskInstanceKey, Row]:
    return {key: row for key, row in rows.items() if key not in keys}


def _wrong_runs(plan: PlanSummary, batch: Batch, session: Session) -> Iterator[Mismatch]:
    live = clear_runs.read_runs(batch.run_pks, session)
    for run in batch.runs:
        if run.run_id not in live:
            yield Mismatch(f"dag run {run.run_id}", "row", "there", "missing")
            continue
        clears = run.clear_number + (1 if plan.selection.reset_dag_runs else 0)
        for column, value in {**run.after, "clear_number": clears}.items():
            found = live[run.run_id][column]
            if found != value:
                yield Mismatch(f"dag run {run.run_id}", column, str(value), str(found))


def note_new_ids(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> int:
    """Remember the ids that the covered task instances carry after the clear.

    Only of those that are as planned; returns how many these are.
    """
    planned, ti = plan_task_instance, task_instance
    noted = (
        update(planned)
        .where(
            of_plan(planned, plan_id, run_ids),
            planned.c.effect.in_(COVERED_EFFECTS),
            ti.c.dag_id == dag_id,
            # Said of these too, or PostgreSQL may read all of the DAG's.
            ti.c.run_id.in_(run_ids),
            same_key(planned, ti),
            *_as_planned(),
        )
        .values(new_task_instance_id=ti.c.id)
    )
    return count_written(noted, session)


def note_applied(plan: PlanSummary, batch: Batch, at: datetime, session: Session, *, size: int | None) -> int:
    """Record that the dag runs of a batch are cleared.

    Only those that are as planned, and none if together they have not ``size`` task instances; returns how
    many these are.
    """
    planned, live, ti = plan_run.c, dag_run.c, task_instance.c
    clears = planned.clear_number + (1 if plan.selection.reset_dag_runs else 0)
    conditions = [
        live.id == planned.dag_run_id,
        live.dag_id == plan.dag_id,
        live.run_id == planned.run_id,
        live.state.is_not_distinct_from(planned.after_state),
        live.created_dag_version_id.is_not_distinct_from(planned.after_dag_version_id),
        live.bundle_version.is_not_distinct_from(planned.after_bundle_version),
        live.clear_number == clears,
    ]
    if size is not None:
        there = select(func.count()).where(ti.dag_id == plan.dag_id, ti.run_id.in_(batch.run_ids))
        conditions.append(there.scalar_subquery() == size)
    applied = (
        update(plan_run)
        .where(of_plan(plan_run, UUID(plan.id), batch.run_ids), *conditions)
        .values(applied_at=at, batch=batch.number)
    )
    return count_written(applied, session)


def _as_planned() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of which :func:`planned_rows` holds the values."""
    planned, ti = plan_task_instance.c, task_instance.c
    return (
        ti.state.is_not_distinct_from(planned.after_state),
        ti.try_number == func.coalesce(planned.try_number, 0),
        ti.max_tries.is_not_distinct_from(planned.after_max_tries),
        ti.dag_version_id.is_not_distinct_from(planned.after_dag_version_id),
        or_(planned.effect.not_in(CLEARED_EFFECTS), ti.id != planned.task_instance_id),
    )


def planned_rows(plan_id: UUID, run_ids: Sequence[str], session: Session) -> dict[TaskInstanceKey, Row]:
    """Return the columns that the covered task instances of a batch are to have after the clear, by key."""
    rows = plan_task_instance
    result = session.execute(
        select(rows).where(of_plan(rows, plan_id, run_ids), rows.c.effect.in_(COVERED_EFFECTS))
    )
    return {
        TaskInstanceKey(row.run_id, row.task_id, row.map_index): {
            "state": row.after_state,
            "try_number": row.try_number or 0,
            "max_tries": row.after_max_tries,
            "dag_version_id": row.after_dag_version_id,
            "old_id": row.task_instance_id if row.effect in CLEARED_EFFECTS else None,
        }
        for row in result
    }


def read_others(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session
) -> dict[TaskInstanceKey, Row]:
    """Read the task instances of the runs that the plan does not cover."""
    planned, ti = plan_task_instance, task_instance
    covered = (
        select(planned.c.run_id)
        .where(of_plan(planned, plan_id, run_ids), planned.c.effect.in_(COVERED_EFFECTS))
        .where(same_key(planned, ti))
    )
    return _read(session, ti.c.dag_id == dag_id, ti.c.run_id.in_(run_ids), ~covered.exists())


def read_all(dag_id: str, run_ids: Sequence[str], session: Session) -> dict[TaskInstanceKey, Row]:
    """Read every task instance of the runs."""
    return _read(session, and_(task_instance.c.dag_id == dag_id, task_instance.c.run_id.in_(run_ids)))


def _read(session: Session, *conditions: ColumnElement[bool]) -> dict[TaskInstanceKey, Row]:
    """Read what a plan speaks of, past the session's own objects."""
    ti = task_instance.c
    columns = (ti.run_id, ti.task_id, ti.map_index, *(ti[name] for name in COMPARED))
    return {
        TaskInstanceKey(row.run_id, row.task_id, row.map_index): {
            name: row._mapping[name] for name in COMPARED
        }
        for row in session.execute(select(*columns).where(*conditions))
    }
