"""Reading plans back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, inspect, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, COVERED_EFFECTS
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary, StateChange
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.storage.mirrors import missing_columns
from safe_clear_plugin.storage.rows import (
    RUN_DATE,
    RUN_ORDER,
    is_cleared_run,
    planned_with_run,
    run_date,
    same_task_instance,
)
from safe_clear_plugin.storage.tables import metadata, plan, plan_run, plan_task_instance

rows_ = plan_task_instance


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows of a plan to show; empty means all.

    ``task``, ``run`` and ``why`` match a part, ``task_id`` and ``run_id`` all of it. The date that a run goes
    by lies from ``run_from`` on and before ``run_to``.
    """

    task: str = ""
    run: str = ""
    state: str = ""
    effect: str = ""
    why: str = ""
    task_id: str = ""
    run_id: str = ""
    map_index: int | None = None
    run_from: datetime | None = None
    run_to: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield SQL conditions on the plan's task instances."""
        if self.task:
            yield rows_.c.task_id.contains(self.task, autoescape=True)
        if self.run:
            yield rows_.c.run_id.contains(self.run, autoescape=True)
        if self.state:
            yield func.coalesce(rows_.c.state, NO_STATE) == self.state
        if self.effect:
            yield rows_.c.effect == self.effect
        if self.why:
            yield rows_.c.why.contains(self.why, autoescape=True)
        if self.task_id:
            yield rows_.c.task_id == self.task_id
        if self.run_id:
            yield rows_.c.run_id == self.run_id
        if self.map_index is not None:
            yield rows_.c.map_index == self.map_index
        if self.run_from or self.run_to:
            yield self._in_runs().exists()

    def _in_runs(self) -> Select[Any]:
        run = plan_run.alias("run")
        date = run_date(run)
        found = select(run.c.run_id).where(run.c.plan_id == rows_.c.plan_id, run.c.run_id == rows_.c.run_id)
        if self.run_from:
            found = found.where(date >= self.run_from)
        return found.where(date < self.run_to) if self.run_to else found


def tables_exist(session: Session) -> bool:
    """Whether ``airflow db migrate`` has made Safe Clear's tables, for the Airflow that is installed."""
    inspector = inspect(session.connection())
    there = all(inspector.has_table(table.name, schema=table.schema) for table in metadata.sorted_tables)
    return there and not missing_columns(session.connection())


def get(plan_id: UUID, session: Session) -> PlanSummary | None:
    """Return a plan without its rows."""
    row = session.execute(select(plan).where(plan.c.id == plan_id)).one_or_none()
    return summary(row) if row else None


def _without_driver_text(problem: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return why a plan stopped, without the driver's words, which plans kept while they had no code."""
    if problem and problem.get("kind") == "busy" and "code" not in problem:
        return {**problem, "reason": "The metadata database did not save the batch."}
    return problem


def summary(row: Row[Any]) -> PlanSummary:
    """Return a row of the plan table as a plan."""
    return PlanSummary(
        id=row.id.hex,
        status=row.status,
        dag_id=row.dag_id,
        selection=Selection.from_json(row.selection),
        run_on_latest_version=row.run_on_latest_version,
        dag_versions=tuple(row.dag_versions),
        fingerprint=row.fingerprint,
        created_by=row.created_by,
        created_by_name=row.created_by_name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        task_instances=row.task_instances,
        dag_runs=row.dag_runs,
        findings=tuple(Finding.from_json(item) for item in row.findings),
        findings_not_checked=tuple(row.findings_not_checked or ()),
        reason=row.reason,
        applied_by=row.applied_by,
        applied_by_name=row.applied_by_name,
        applied_at=row.applied_at,
        finished_at=row.finished_at,
        problem=_without_driver_text(row.problem),
        last_step_at=row.last_step_at,
        batches=row.batches,
        cleared=row.cleared,
        cleared_runs=row.cleared_runs,
        put_back=row.put_back,
        stayed=row.stayed,
        undo_asked_runs=row.undo_asked_runs,
        undone_runs=row.undone_runs,
        airflow_version=row.airflow_version,
        estimate=Estimate.from_json(row.estimate) if row.estimate else None,
        acknowledged=tuple(row.acknowledged or ()),
        approval_asked_at=row.approval_asked_at,
        approved_by=row.approved_by,
        approved_by_name=row.approved_by_name,
        declined_by=row.declined_by,
        declined_by_name=row.declined_by_name,
        declined_at=row.declined_at,
        decline_reason=row.decline_reason,
        team_name=row.team_name,
    )


def state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's task instances by state before, state after and effect."""
    result = session.execute(
        select(rows_.c.state, rows_.c.after_state, rows_.c.effect, func.count().label("n"))
        .where(rows_.c.plan_id == plan_id)
        .group_by(rows_.c.state, rows_.c.after_state, rows_.c.effect)
        .order_by(func.count().desc(), rows_.c.effect, rows_.c.state)
    )
    return [StateChange(row.state, row.after_state, row.effect, row.n) for row in result]


def run_state_changes(plan_id: UUID, session: Session) -> list[StateChange]:
    """Count the plan's dag runs by state before and after."""
    result = session.execute(
        select(plan_run.c.state, plan_run.c.after_state, func.count().label("n"))
        .where(*_cleared_runs(plan_id))
        .group_by(plan_run.c.state, plan_run.c.after_state)
        .order_by(func.count().desc(), plan_run.c.state)
    )
    return [StateChange(row.state, row.after_state, "clear", row.n) for row in result]


def runs(
    plan_id: UUID,
    session: Session,
    *,
    run_ids: Sequence[str] | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> list[PlannedRun]:
    """Return the plan's dag runs in the order in which they are cleared.

    With ``run_ids``, those runs, also where everything selected in them is left out.
    """
    query = (
        select(plan_run).where(plan_run.c.plan_id == plan_id).order_by(*RUN_ORDER).offset(offset).limit(limit)
    )
    if run_ids is not None:
        query = query.where(plan_run.c.run_id.in_(run_ids))
    else:
        query = query.where(is_cleared_run())
    return [_run(row) for row in session.execute(query)]


def _cleared_runs(plan_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return plan_run.c.plan_id == plan_id, is_cleared_run()


def first_and_last_run(plan_id: UUID, session: Session) -> tuple[PlannedRun | None, PlannedRun | None]:
    """Return the runs of the plan with the earliest and the latest date that a run goes by."""
    query = select(plan_run).where(*_cleared_runs(plan_id)).limit(1)
    first = session.execute(query.order_by(RUN_DATE, plan_run.c.dag_run_id)).one_or_none()
    last = session.execute(query.order_by(RUN_DATE.desc(), plan_run.c.dag_run_id.desc())).one_or_none()
    return (_run(first) if first else None, _run(last) if last else None)


def days_with_runs(plan_id: UUID, days: Iterable[date], session: Session) -> set[date]:
    """Return those of the days, in UTC, that have a run of the plan."""

    def has_run(day: date) -> bool:
        start = datetime.combine(day, time.min, timezone.utc)
        found = select(plan_run.c.run_id).where(
            *_cleared_runs(plan_id), start <= RUN_DATE, start + timedelta(days=1) > RUN_DATE
        )
        return session.execute(found.limit(1)).one_or_none() is not None

    return {day for day in days if has_run(day)}


def _run(row: Row[Any]) -> PlannedRun:
    return PlannedRun(
        run_id=row.run_id,
        logical_date=row.logical_date,
        run_after=row.run_after,
        run_type=row.run_type,
        state=row.state,
        after_state=row.after_state,
        task_instances=row.task_instances,
        applied_at=row.applied_at,
        batch=row.batch,
        undone_at=row.undone_at,
        undo_batch=row.undo_batch,
        put_back=row.put_back,
    )


def _hex(value: UUID | None) -> str | None:
    return str(value) if value else None


def count_task_instances(plan_id: UUID, wanted: RowFilter, session: Session) -> int:
    """Count the rows that a filter lets through."""
    return (
        session.scalar(
            select(func.count()).select_from(rows_).where(rows_.c.plan_id == plan_id, *wanted.conditions())
        )
        or 0
    )


def task_instances(
    plan_id: UUID, wanted: RowFilter, session: Session, *, offset: int = 0, limit: int = 100
) -> list[PlannedTaskInstance]:
    """Return a page of the plan's task instances, by run in clearing order, then by task."""
    result = session.execute(
        select(rows_)
        .select_from(planned_with_run())
        .where(rows_.c.plan_id == plan_id, *wanted.conditions())
        .order_by(*RUN_ORDER, rows_.c.task_id, rows_.c.map_index)
        .offset(offset)
        .limit(limit)
    )
    return [
        PlannedTaskInstance(
            run_id=row.run_id,
            task_id=row.task_id,
            map_index=row.map_index,
            id=_hex(row.task_instance_id),
            state=row.state,
            try_number=row.try_number,
            effect=row.effect,
            after_state=row.after_state,
            after_max_tries=row.after_max_tries,
            why=row.why,
        )
        for row in result
    ]


def states_now(plan_id: UUID, dag_id: str, session: Session) -> list[tuple[str | None, int]]:
    """Count the task instances that the plan cleared, in the runs that it got to, by their state now."""
    ti = task_instance
    joined = planned_with_run().join(ti, and_(ti.c.dag_id == dag_id, same_task_instance(ti, rows_)))
    result = session.execute(
        select(ti.c.state, func.count().label("n"))
        .select_from(joined)
        .where(
            rows_.c.plan_id == plan_id,
            rows_.c.effect.in_(CLEARED_EFFECTS),
            plan_run.c.applied_at.is_not(None),
        )
        .group_by(ti.c.state)
        .order_by(ti.c.state)
    )
    return [(row.state, row.n) for row in result]


def touched_ids(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select the ids of the task instances of a batch of runs that do not stay as they are."""
    return select(rows_.c.task_instance_id).where(
        rows_.c.plan_id == plan_id,
        rows_.c.run_id.in_(run_ids),
        rows_.c.effect.in_(COVERED_EFFECTS),
        rows_.c.task_instance_id.is_not(None),
    )


def cleared_ids(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select the ids of the task instances that a batch of runs clears."""
    return select(rows_.c.task_instance_id).where(
        rows_.c.plan_id == plan_id, rows_.c.run_id.in_(run_ids), rows_.c.effect.in_(CLEARED_EFFECTS)
    )
