"""The steps of a plan from ready to applied: each begins with a compare-and-set on its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    Update,
    and_,
    case,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.audit_log import Actor
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.plan import SILENT_FOR, PlanSummary
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan, plan_batch, plan_run, plan_task_instance


@dataclass(frozen=True, slots=True)
class RunToClear:
    """A dag run of the plan with the columns that it is to have after the clear."""

    run_id: str
    dag_run_id: int
    date: datetime
    """The date that the run goes by."""
    task_instances: int
    clear_number: int
    moves_to_latest: bool
    after: Mapping[str, Any]


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


def transition(
    plan_id: UUID,
    before: str,
    after: str,
    session: Session,
    *,
    unexpired_at: datetime | None = None,
    seen: PlanSummary | None = None,
    **values: Any,
) -> bool:
    """Move the plan from one status to another, if it still has the first one. Returns whether it did.

    With ``unexpired_at``, also only if the plan holds beyond that moment; with ``seen``, only if nobody has
    asked for its approval or prolonged it since. Being a write, it takes SQLite's
    write lock and PostgreSQL's lock on the plan's row before anything else is read in the transaction.
    """
    conditions = [plan.c.id == plan_id, plan.c.status == before]
    if unexpired_at is not None:
        conditions.append(plan.c.expires_at > unexpired_at)
    if seen is not None:
        conditions.append(plan.c.expires_at == seen.expires_at)
        conditions.append(plan.c.approval_asked_at.is_not_distinct_from(seen.approval_asked_at))
    changed = update(plan).where(and_(*conditions)).values(status=after, **values)
    return count_written(changed, session) == 1


def claim(
    seen: PlanSummary,
    actor: Actor,
    at: datetime,
    session: Session,
    *,
    reason: str,
    acknowledged: Sequence[str],
    approved: bool,
    airflow_version: str,
) -> bool:
    """Take a ready plan that still holds for this actor alone. Returns whether it was there to be taken.

    It must stand as it was ``seen`` when its limits were checked: that somebody asks for its approval at the
    same time prolongs it.
    The reason with which its author asked for approval stays.
    """
    second = {"approved_by": actor.id, "approved_by_name": actor.name} if approved else {}
    return transition(
        UUID(seen.id),
        "ready",
        "applying",
        session,
        unexpired_at=at,
        seen=seen,
        reason=case((plan.c.approval_asked_at.is_(None), reason), else_=plan.c.reason),
        acknowledged=list(acknowledged),
        applied_by=actor.id,
        applied_by_name=actor.name,
        applied_at=at,
        last_step_at=at,
        airflow_version=airflow_version,
        **second,
    )


def go_on(plan_id: UUID, before: str, actor: Actor, at: datetime, session: Session) -> bool:
    """Let an actor apply a plan further that was stopped or left, unless its undo has begun.

    Only if its status is still the one that the actor knows: a stop in between stands. Returns whether so.
    """
    resumed = (
        update(plan)
        .where(plan.c.id == plan_id, plan.c.status == before, plan.c.undo_asked_runs == 0)
        .values(
            status="applying",
            problem=null(),
            finished_at=None,
            last_step_at=at,
            applied_by=actor.id,
            applied_by_name=actor.name,
        )
    )
    return count_written(resumed, session) == 1


def stop_if_silent(plan_id: UUID, problem: Mapping[str, Any], now: datetime, session: Session) -> None:
    """Stop a plan that nobody has applied further for a while."""
    session.execute(
        update(plan)
        .where(plan.c.id == plan_id, plan.c.status == "applying", plan.c.last_step_at <= now - SILENT_FOR)
        .values(status="stopped", problem=problem, finished_at=now)
    )


def begin_batch(plan_id: UUID, at: datetime, session: Session) -> int | None:
    """Take the plan's row for one clearing transaction and return the batch's number.

    ``None`` when the plan is not being applied any more. Batches of one plan queue here.
    """
    return take_number(plan_id, at, session, plan.c.status == "applying")


def take_number(
    plan_id: UUID, at: datetime, session: Session, *conditions: ColumnElement[bool]
) -> int | None:
    """Write the next batch's number into the plan's row, if it meets the conditions, and return it."""
    write = (
        update(plan)
        .where(plan.c.id == plan_id, *conditions)
        .values(batches=plan.c.batches + 1, last_step_at=at)
    )
    row = _written(write, plan.c.batches, plan_id=plan_id, session=session)
    return row.batches if row else None


def _written(write: Update, *columns: ColumnElement[Any], plan_id: UUID, session: Session) -> Row[Any] | None:
    """Write to a plan's row and return columns of it as they then are, if there was one to write to."""
    if session.get_bind().dialect.update_returning:
        return session.execute(write.returning(*columns)).one_or_none()
    if not count_written(write, session):
        return None
    return session.execute(select(*columns).where(plan.c.id == plan_id)).one()


def next_batch(plan_id: UUID, number: int, size: int, session: Session) -> Batch:
    """Return the dag runs of the next batch, in clearing order.

    They hold ``size`` task instances at most, or are a single larger run: a run is never split.
    """
    nearest = (
        select(plan_run)
        .where(plan_run.c.plan_id == plan_id, plan_run.c.task_instances > 0, plan_run.c.applied_at.is_(None))
        .order_by(*plan_reader.RUN_ORDER)
        # Each holds one task instance at least: so many are never all chosen if there are more.
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
    return [runs.c[column.name] for column in plan_reader.RUN_ORDER]


def _run_to_clear(row: Row[Any]) -> RunToClear:
    return RunToClear(
        run_id=row.run_id,
        dag_run_id=row.dag_run_id,
        date=row.logical_date or row.run_after,
        task_instances=row.task_instances,
        clear_number=row.clear_number,
        moves_to_latest=row.moves_to_latest,
        after={
            "state": row.after_state,
            "dag_version_id": row.after_dag_version_id,
            "bundle_version": row.after_bundle_version,
        },
    )


def _counts(
    plan_id: UUID, chosen: Sequence[RunToClear], session: Session
) -> dict[tuple[str | None, Effect], int]:
    rows, run_ids = plan_task_instance.c, [run.run_id for run in chosen]
    found = session.execute(
        select(rows.state, rows.effect, func.count().label("n"))
        .where(rows.plan_id == plan_id, rows.run_id.in_(run_ids))
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
    row = _written(write, *plan.c, plan_id=plan_id, session=session)
    return plan_reader.summary(row) if row else None


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


def is_held(plan_id: UUID, session: Session) -> bool:
    """Whether a transaction holds the plan's row, as every clearing one does (not seen on SQLite)."""
    free = select(plan.c.id).where(plan.c.id == plan_id).with_for_update(skip_locked=True)
    return session.execute(free).one_or_none() is None


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
    ).where(rows.c.plan_id == plan_id, rows.c.run_id.in_(run_ids), rows.c.effect.in_(CLEARED_EFFECTS))


def logical_date_of(rows: FromClause) -> ColumnElement[datetime | None]:
    """Return the logical date of a row's dag run, looked up by the whole key."""
    runs = plan_run.alias("run_of_row")
    return (
        select(runs.c.logical_date)
        .where(runs.c.plan_id == rows.c.plan_id, runs.c.run_id == rows.c.run_id)
        .scalar_subquery()
        .label("logical_date")
    )
