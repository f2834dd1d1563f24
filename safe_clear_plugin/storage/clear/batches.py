"""The batches of a clear: whole dag runs that one transaction clears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Row, Select, func, insert, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.clear.status import write_returning
from safe_clear_plugin.storage.plans.plan_summary import summary
from safe_clear_plugin.storage.rows import RUN_DATE, RUN_ORDER, is_cleared_run, of_plan
from safe_clear_plugin.storage.tables import plan, plan_batch, plan_run, plan_task_instance


@dataclass(frozen=True, slots=True)
class RunToClear:
    """A dag run of the plan, with the DAG version that it will have after the clear."""

    run_id: str
    dag_run_id: int
    date: datetime
    """The date that the run goes by."""
    task_instances: int
    moves_to_latest: bool
    after_dag_version_id: UUID | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Dag runs that one transaction clears, and what the plan says of their task instances."""

    number: int
    """Of the plan's batches, clears and undos counted together."""
    runs: Sequence[RunToClear]
    last: bool
    """Whether nothing is left after them."""
    counts: Mapping[tuple[str | None, Effect], int]
    """How many rows the plan has of them, by state before the clear and effect."""

    @property
    def run_ids(self) -> list[str]:
        """Their run ids."""
        return [run.run_id for run in self.runs]

    @property
    def run_pks(self) -> list[int]:
        """The primary keys of their rows, in the order in which these are locked."""
        return sorted(run.dag_run_id for run in self.runs)

    @property
    def task_instances(self) -> int:
        """How many task instances are cleared."""
        return sum(run.task_instances for run in self.runs)

    @property
    def cleared_from(self) -> set[tuple[str | None, Effect]]:
        """From which states task instances are cleared, with which effects."""
        return {(state, effect) for state, effect in self.counts if effect in CLEARED_EFFECTS}

    @property
    def has_scheduled(self) -> bool:
        """Whether a scheduler may be about to queue one of those."""
        return any(state == "scheduled" for state, _ in self.cleared_from)

    def of(self, *effects: Effect) -> int:
        """Return how many rows there are with these effects."""
        return sum(n for (_, effect), n in self.counts.items() if effect in effects)


def next_batch(plan_id: UUID, number: int, size: int, session: Session) -> Batch:
    """Return the dag runs of the next batch, in clearing order.

    They hold ``size`` task instances at most, or are a single larger run: a run is never split.
    """
    nearest = (
        select(plan_run, RUN_DATE.label("date"))
        .where(plan_run.c.plan_id == plan_id, is_cleared_run(), plan_run.c.applied_at.is_(None))
        .order_by(*RUN_ORDER)
        # A cleared run has at least one task instance, so a batch never has more runs than `size`.
        .limit(size + 1)
        .subquery()
    )
    left = select(
        nearest,
        func.sum(nearest.c.task_instances).over(order_by=_order(nearest), rows=(None, 0)).label("upto"),
        func.count().over().label("runs_left"),
    ).subquery()
    is_first = left.c.upto == left.c.task_instances
    rows = session.execute(
        select(left).where(or_(left.c.upto <= size, is_first)).order_by(*_order(left))
    ).all()
    if not rows:
        return Batch(number, (), last=True, counts={})
    chosen = [_run_to_clear(row) for row in rows]
    return Batch(number, chosen, len(chosen) == rows[0].runs_left, _counts(plan_id, chosen, session))


def _order(runs: FromClause) -> list[ColumnElement[Any]]:
    return [runs.c[column.name] for column in RUN_ORDER]


def _run_to_clear(row: Row[Any]) -> RunToClear:
    return RunToClear(
        run_id=row.run_id,
        dag_run_id=row.dag_run_id,
        date=row.date,
        task_instances=row.task_instances,
        moves_to_latest=row.moves_to_latest,
        after_dag_version_id=row.after_dag_version_id,
    )


def _counts(
    plan_id: UUID, chosen: Sequence[RunToClear], session: Session
) -> dict[tuple[str | None, Effect], int]:
    rows, run_ids = plan_task_instance.c, [run.run_id for run in chosen]
    found = session.execute(
        select(rows.state, rows.effect, func.count().label("n"))
        .where(of_plan(plan_task_instance, plan_id, run_ids))
        .group_by(rows.state, rows.effect)
    )
    return {(row.state, row.effect): row.n for row in found}


def finish_batch(plan_id: UUID, batch: Batch, at: datetime, session: Session) -> PlanSummary | None:
    """Count what is cleared, in the transaction that cleared and verified it; the last one ends the plan.

    Returns the plan as it then is.
    """
    ended = {"status": "applied", "finished_at": at} if batch.last else {}
    write = (
        update(plan)
        .where(plan.c.id == plan_id)
        .values(
            cleared=plan.c.cleared + batch.task_instances,
            cleared_runs=plan.c.cleared_runs + len(batch.runs),
            last_step_at=at,
            **ended,
        )
    )
    row = write_returning(write, *plan.c, plan_id=plan_id, session=session)
    return summary(row) if row else None


def record_batch(
    plan_id: UUID,
    number: int,
    kind: str,
    *,
    actor: Actor,
    reason: str,
    at: datetime,
    dates: Sequence[datetime],
    task_instances: int,
    stayed: int = 0,
    session: Session,
) -> None:
    """Keep on the plan's receipt what one transaction did to the runs with these dates."""
    session.execute(
        insert(plan_batch).values(
            plan_id=plan_id,
            number=number,
            kind=kind,
            at=at,
            actor_id=actor.id[:512],
            actor_name=actor.name[:512],
            reason=reason,
            dag_runs=len(dates),
            task_instances=task_instances,
            stayed=stayed,
            first_run=min(dates),
            last_run=max(dates),
        )
    )


def audit_select(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select what the audit log says of each task instance of a batch."""
    rows = plan_task_instance
    return select(
        rows.c.run_id,
        logical_date_of(rows),
        rows.c.task_id,
        rows.c.map_index,
        rows.c.try_number,
        rows.c.state,
        rows.c.effect,
    ).where(of_plan(rows, plan_id, run_ids), rows.c.effect.in_(CLEARED_EFFECTS))


def logical_date_of(rows: FromClause) -> ColumnElement[datetime | None]:
    """Return the logical date of a row's dag run, looked up by the whole key."""
    runs = plan_run.alias("run_of_row")
    return (
        select(runs.c.logical_date)
        .where(runs.c.plan_id == rows.c.plan_id, runs.c.run_id == rows.c.run_id)
        .scalar_subquery()
        .label("logical_date")
    )
