"""The batches of a clear: whole dag runs that one transaction clears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Row, Select, and_, func, insert, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.waves import RunOrder
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.driver.leases import AT_REST
from safe_clear_plugin.storage.rows import RUN_DATE, clearing_order, is_cleared_run, of_plan
from safe_clear_plugin.storage.tables import plan, plan_batch, plan_run, plan_task_instance


@dataclass(frozen=True, slots=True)
class RunToClear:
    """A dag run of the plan."""

    run_id: str
    dag_run_id: int
    date: datetime
    """The date that the run goes by."""
    task_instances: int
    moves_to_latest: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Dag runs that one transaction clears, and what the plan says of their task instances."""

    number: int
    """Of the plan's batches, clears and undos counted together."""
    runs: Sequence[RunToClear]
    last: bool
    """Whether nothing is left after them."""
    counts: Mapping[tuple[str | None, Effect], int]
    """The number of their rows in the plan, by state before the clear and effect."""

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
        """The number of task instances that are cleared."""
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


def next_batch(
    plan_id: UUID,
    number: int,
    size: int,
    session: Session,
    *,
    most_runs: int | None = None,
    order: RunOrder | None = None,
) -> Batch:
    """Return the dag runs of the next batch, in clearing order: ``most_runs`` of them at most, if given.

    They hold ``size`` task instances at most, or are a single larger run: a run is never split.
    """
    nearest = (
        select(plan_run, RUN_DATE.label("date"))
        .where(plan_run.c.plan_id == plan_id, is_cleared_run(), plan_run.c.applied_at.is_(None))
        .order_by(*clearing_order(order))
        # A cleared run has at least one task instance, so a batch never has more runs than `size`.
        .limit(size + 1)
        .subquery()
    )
    in_order = clearing_order(order, nearest)
    left = select(
        nearest,
        func.sum(nearest.c.task_instances).over(order_by=in_order, rows=(None, 0)).label("upto"),
        func.row_number().over(order_by=in_order).label("place"),
        func.count().over().label("runs_left"),
    ).subquery()
    fits = or_(left.c.upto <= size, left.c.place == 1)
    if most_runs is not None:
        fits = and_(fits, left.c.place <= most_runs)
    rows = session.execute(select(left).where(fits).order_by(left.c.place)).all()
    chosen = tuple(_run_to_clear(row) for row in rows)
    last = not rows or len(chosen) == rows[0].runs_left
    return Batch(number, chosen, last, _counts(plan_id, chosen, session) if chosen else {})


def _run_to_clear(row: Row[Any]) -> RunToClear:
    return RunToClear(
        run_id=row.run_id,
        dag_run_id=row.dag_run_id,
        date=row.date,
        task_instances=row.task_instances,
        moves_to_latest=row.moves_to_latest,
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


def finish_batch(plan_id: UUID, batch: Batch, at: datetime, session: Session) -> None:
    """Count a batch in the transaction that cleared and verified it; the last batch ends the plan."""
    ended = {"status": "applied", "finished_at": at, **AT_REST}
    session.execute(
        update(plan)
        .where(plan.c.id == plan_id)
        .values(
            cleared=plan.c.cleared + batch.task_instances,
            cleared_runs=plan.c.cleared_runs + len(batch.runs),
            last_step_at=at,
            # Behind the other plans that a driver has to do with.
            **(ended if batch.last else {"next_step_at": database_time()}),
        )
    )


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
