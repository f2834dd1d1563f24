"""Verification: whether the clear of a batch had exactly the result that the plan shows.

The columns that undo and resume use are written only where the result is as planned. So the row counts of
these UPDATEs say whether the whole result is as planned. If it is not, the same conditions select the rows
that differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Row, Select, and_, func, not_, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.column import ClearedColumn
from safe_clear_plugin.airflow_api.clear.predictions import pin_versionless
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, of_dag, without_index
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core import mismatch
from safe_clear_plugin.core.effects import COVERED_EFFECTS
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.mismatch import Mismatch
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.clear.batches import Batch
from safe_clear_plugin.storage.rows import is_planned_run, of_plan, same_task_instance
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


def verify(
    plan: PlanSummary,
    batch: Batch,
    before: Mapping[TaskInstanceKey, mismatch.Row],
    locked: Set[UUID],
    *,
    at: datetime,
    session: Session,
) -> list[Mismatch]:
    """Record what the clear of a batch did, and return how it differs from the plan.

    If anything differs, the batch is recorded in part only, so the caller must roll back.
    To be called within :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`.

    ``before`` are the task instances that :func:`read_uncleared` found before the clear. Those of them that
    are not ``locked`` can change meanwhile.
    """
    plan_id, run_ids = UUID(plan.id), batch.run_ids
    covered = batch.of(*COVERED_EFFECTS)
    right = record_new_ids(plan, run_ids, session)
    right_runs = record_cleared_runs(plan, batch, at, session, size=None if before else covered)
    as_planned = right == covered and right_runs == len(batch.runs)
    if as_planned and not before:
        return []
    if plan.selection.reset_dag_runs:
        before = pin_versionless(before, lambda runs: _versions_after(plan_id, runs, session))
    free = {key for key, row in before.items() if row["id"] not in locked}
    found = _without(read_uncleared(plan_id, plan.dag_id, run_ids, session), free)
    others = list(mismatch.changed_rows(_without(before, free), found))
    if as_planned:
        return others
    wrong = [
        *_wrong_task_instances(plan, run_ids, session),
        *others,
        *_wrong_runs(plan, run_ids, session),
    ]
    # The counts decide: if they differ, the batch is not as planned even when every row compares equal.
    return wrong or list(_too_few(covered, right, batch, right_runs))


def _versions_after(plan_id: UUID, run_ids: Collection[str], session: Session) -> dict[str, UUID | None]:
    """Return the DAG version that each run is to have."""
    versions = select(plan_run.c.run_id, plan_run.c.after_dag_version_id)
    found = session.execute(versions.where(of_plan(plan_run, plan_id, list(run_ids))))
    return {row.run_id: row.after_dag_version_id for row in found}


def _too_few(covered: int, right: int, batch: Batch, right_runs: int) -> Iterator[Mismatch]:
    if right != covered:
        yield Mismatch("the batch", "task instances as planned", str(covered), str(right))
    if right_runs != len(batch.runs):
        yield Mismatch("the batch", "dag runs as planned", str(len(batch.runs)), str(right_runs))


def _without(
    rows: Mapping[TaskInstanceKey, mismatch.Row], keys: Set[TaskInstanceKey]
) -> dict[TaskInstanceKey, mismatch.Row]:
    return {key: row for key, row in rows.items() if key not in keys}


def record_new_ids(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> int:
    """Record the ids that the covered task instances have after the clear.

    Only of those that are as planned; returns how many these are.
    """
    planned, ti = plan_task_instance, task_instance
    recorded = (
        update(planned)
        .where(
            of_plan(planned, UUID(plan.id), run_ids),
            planned.c.effect.in_(COVERED_EFFECTS),
            _same_live_task_instance(plan, run_ids),
            *map(not_, _mismatches(cleared_columns.TASK_INSTANCE, planned, ti, plan)),
        )
        .values(new_task_instance_id=ti.c.id)
    )
    return count_written(recorded, session)


def record_cleared_runs(
    plan: PlanSummary, batch: Batch, at: datetime, session: Session, *, size: int | None
) -> int:
    """Record that the dag runs of a batch are cleared.

    Only those that are as planned, and none if together they have not ``size`` task instances; returns how
    many these are.
    """
    ti = task_instance.c
    conditions = list(map(not_, _mismatches(cleared_columns.DAG_RUN, plan_run, dag_run, plan)))
    if size is not None:
        there = select(func.count()).where(of_dag(task_instance, plan.dag_id), ti.run_id.in_(batch.run_ids))
        conditions.append(there.scalar_subquery() == size)
    cleared = (
        update(plan_run)
        .where(
            of_plan(plan_run, UUID(plan.id), batch.run_ids), _same_live_run(plan, batch.run_ids), *conditions
        )
        .values(applied_at=at, batch=batch.number)
    )
    return count_written(cleared, session)


def _same_live_task_instance(plan: PlanSummary, run_ids: Sequence[str]) -> ColumnElement[bool]:
    return and_(
        of_dag(task_instance, plan.dag_id),
        # Said of these too, or PostgreSQL may read all of the DAG's.
        task_instance.c.run_id.in_(run_ids),
        same_task_instance(plan_task_instance, task_instance),
    )


def _same_live_run(plan: PlanSummary, run_ids: Sequence[str]) -> ColumnElement[bool]:
    return and_(
        dag_run.c.id == plan_run.c.dag_run_id,
        is_planned_run(dag_run, UUID(plan.id), run_ids),
        without_index(dag_run.c.dag_id) == plan.dag_id,
        dag_run.c.run_id == plan_run.c.run_id,
    )


def _verified(columns: Sequence[ClearedColumn[Any]]) -> list[ClearedColumn[Any]]:
    return [column for column in columns if column.verify]


def _mismatches(
    columns: Sequence[ClearedColumn[Any]], planned: FromClause, live: FromClause, plan: PlanSummary
) -> list[ColumnElement[bool]]:
    """Return a condition for each verified column, in their order."""
    resets = plan.selection.reset_dag_runs
    return [column.is_mismatch(planned, live, resets) for column in _verified(columns)]


def _wrong_task_instances(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> Iterator[Mismatch]:
    planned, ti, columns = plan_task_instance, task_instance, cleared_columns.TASK_INSTANCE
    key = (planned.c.run_id, planned.c.task_id, planned.c.map_index)
    query = (
        _select_wrong(columns, planned, ti, plan)
        .add_columns(*key)
        .select_from(planned.outerjoin(ti, _same_live_task_instance(plan, run_ids)))
        .where(of_plan(planned, UUID(plan.id), run_ids), planned.c.effect.in_(COVERED_EFFECTS))
        .order_by(*key)
    )
    for row in session.execute(query):
        key_ = TaskInstanceKey(row.run_id, row.task_id, row.map_index)
        yield from _named(mismatch.task_instance_name(key_), columns, row)


def _wrong_runs(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> Iterator[Mismatch]:
    query = (
        _select_wrong(cleared_columns.DAG_RUN, plan_run, dag_run, plan)
        .add_columns(plan_run.c.run_id)
        .select_from(plan_run.outerjoin(dag_run, _same_live_run(plan, run_ids)))
        .where(of_plan(plan_run, UUID(plan.id), run_ids))
        .order_by(plan_run.c.run_after, plan_run.c.dag_run_id)
    )
    for row in session.execute(query):
        yield from _named(f"dag run {row.run_id}", cleared_columns.DAG_RUN, row)


def _select_wrong(
    columns: Sequence[ClearedColumn[Any]], planned: FromClause, live: FromClause, plan: PlanSummary
) -> Select[Any]:
    """Select the rows that are missing or otherwise than planned, with each verified column.

    By its place among these, a column has ``wrong_0``, ``expected_0`` and ``found_0``.
    """
    resets = plan.selection.reset_dag_runs
    wrong = _mismatches(columns, planned, live, plan)
    selected: list[ColumnElement[Any]] = [live.c.id.is_(None).label("missing")]
    for place, column in enumerate(_verified(columns)):
        selected += [
            wrong[place].label(f"wrong_{place}"),
            column.expected(planned, resets).label(f"expected_{place}"),
            live.c[column.name].label(f"found_{place}"),
        ]
    return select(*selected).where(or_(live.c.id.is_(None), *wrong))


def _named(name: str, columns: Sequence[ClearedColumn[Any]], row: Row[Any]) -> Iterator[Mismatch]:
    """Yield the mismatches of a row that :func:`_select_wrong` found."""
    if row.missing:
        yield mismatch.missing(name)
        return
    values = row._mapping
    for place, column in enumerate(_verified(columns)):
        if values[f"wrong_{place}"]:
            expected = "a new one" if column.is_new else str(values[f"expected_{place}"])
            yield Mismatch(name, column.planned_name, expected, str(values[f"found_{place}"]))


def read_uncleared(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session
) -> dict[TaskInstanceKey, mismatch.Row]:
    """Read the id and the verified columns of the runs' task instances that the plan does not cover.

    Past the session's own objects.
    """
    planned, ti = plan_task_instance, task_instance
    covered = exists_row(
        planned,
        of_plan(planned, plan_id),
        planned.c.effect.in_(COVERED_EFFECTS),
        same_task_instance(planned, ti),
    )
    verified = (column.name for column in _verified(cleared_columns.TASK_INSTANCE))
    names = list(dict.fromkeys(("id", *verified)))
    rows = session.execute(
        select(ti.c.run_id, ti.c.task_id, ti.c.map_index, *(ti.c[name] for name in names)).where(
            of_dag(ti, dag_id), ti.c.run_id.in_(run_ids), ~covered
        )
    )
    return {
        TaskInstanceKey(row.run_id, row.task_id, row.map_index): {name: row._mapping[name] for name in names}
        for row in rows
    }
