"""The steps of an undo: the request, the verdicts, and the progress."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, literal, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, MOVED_EFFECTS, PLANNED_EFFECTS, SCHEDULER_EFFECTS
from safe_clear_plugin.core.undo import RunChoice, Verdict
from safe_clear_plugin.storage.clear.batches import logical_date_of
from safe_clear_plugin.storage.clear.status import asked_by, take_number
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.plan_lock import take_plan
from safe_clear_plugin.storage.rows import RUN_DATE, RUN_ORDER, of_plan, same_task_instance
from safe_clear_plugin.storage.tables import plan, plan_run, plan_task_instance
from safe_clear_plugin.storage.undo.run_verdicts import run_verdicts
from safe_clear_plugin.storage.undo.verdicts import open_runs, task_instance_verdicts


def request_undo(plan_id: UUID, run_ids: Sequence[str], at: datetime, session: Session) -> int:
    """Record which cleared runs are to be undone; with none named, all that are not yet.

    Returns how many had not been asked for before.
    """
    wanted = [plan_run.c.plan_id == plan_id, plan_run.c.undo_asked_at.is_(None), *open_runs(None)]
    if run_ids:
        wanted.append(is_named(plan_run.c.run_id, run_ids))
    asked = count_written(update(plan_run).where(*wanted).values(undo_asked_at=at), session)
    session.execute(
        update(plan).where(plan.c.id == plan_id).values(undo_asked_runs=plan.c.undo_asked_runs + asked)
    )
    return asked


def not_asked_for(plan_id: UUID, run_ids: Sequence[str], session: Session) -> list[str]:
    """Return the runs that no undo was requested for: they are not in the plan, or not cleared."""
    asked = select(plan_run.c.run_id).where(
        of_plan(plan_run, plan_id, run_ids), plan_run.c.undo_asked_at.is_not(None)
    )
    known = set(session.scalars(asked)) if run_ids else set()
    return [run_id for run_id in run_ids if run_id not in known]


def wake(plan_id: UUID, session: Session) -> None:
    """Make the next step of an undo due, if the undo is not complete and none of its steps is due."""
    asleep = (
        plan.c.id == plan_id,
        plan.c.next_step_at.is_(None),
        plan.c.undo_asked_runs > plan.c.undone_runs,
    )
    session.execute(update(plan).where(*asleep).values(next_step_at=database_time()))


def begin(
    plan_id: UUID, actor: Actor, reason: str, at: datetime, session: Session, *, is_due: bool = True
) -> None:
    """Let a driver undo the requested runs, in the actor's name; at once if it ``is_due``."""
    values = asked_by(actor, reason)
    if not is_due:
        del values["next_step_at"]
    session.execute(update(plan).where(plan.c.id == plan_id).values(last_step_at=at, **values))


def next_runs(plan_id: UUID, size: int, session: Session, run_ids: Sequence[str] = ()) -> list[Any]:
    """Return the next runs that are to be undone, last cleared first, up to ``size`` task instances.

    With ``run_ids``, only these runs, even if others were requested before.
    """
    named = [is_named(plan_run.c.run_id, run_ids)] if run_ids else []
    rows = session.execute(
        select(
            plan_run.c.run_id,
            plan_run.c.dag_run_id,
            plan_run.c.task_instances,
            RUN_DATE.label("date"),
        )
        .where(plan_run.c.plan_id == plan_id, plan_run.c.undo_asked_at.is_not(None), *open_runs(None), *named)
        .order_by(plan_run.c.batch.desc(), plan_run.c.run_after.desc(), plan_run.c.dag_run_id.desc())
        .limit(size)
    ).all()
    batch: list[Any] = []
    total = 0
    for row in rows:
        total += row.task_instances
        if batch and total > size:
            break
        batch.append(row)
    return batch


def record_verdicts(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str], *, number: int, at: datetime, session: Session
) -> None:
    """Store the verdicts on the runs and their task instances, under their locks.

    What a move to another DAG version did to task instances, or the scheduler because of the clear, is taken
    back only with the run itself: a run that goes on goes on in the version that it has.
    """
    _store_verdicts(plan_id, dag_id, run_ids, session)
    undone = {"undone_at": at, "undo_batch": number}
    session.execute(update(plan_run).where(of_plan(plan_run, plan_id, run_ids)).values(undone))


def _store_verdicts(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    planned = plan_task_instance
    found = task_instance_verdicts(plan_id, dag_id, run_ids)
    session.execute(
        update(planned)
        .where(of_plan(planned, plan_id, run_ids), same_task_instance(planned, found))
        .values(
            undo=found.c.verdict,
            undo_state=found.c.now,
            new_task_instance_id=case(
                (planned.c.effect.in_(SCHEDULER_EFFECTS), found.c.id_now),
                else_=planned.c.new_task_instance_id,
            ),
        )
    )
    decided = select(planned.c.run_id, planned.c.effect, planned.c.undo.label("verdict")).where(
        of_plan(planned, plan_id, run_ids), planned.c.effect.in_(PLANNED_EFFECTS)
    )
    runs = run_verdicts(plan_id, dag_id, decided.subquery(), run_ids)
    session.execute(
        update(plan_run)
        .where(plan_run.c.plan_id == plan_id, plan_run.c.run_id == runs.c.run_id)
        .values(put_back=runs.c.whole)
    )
    whole = select(plan_run.c.run_id).where(
        of_plan(plan_run, plan_id, run_ids), plan_run.c.put_back.is_(True)
    )
    for effects, verdict in ((MOVED_EFFECTS, Verdict.STARTED), (SCHEDULER_EFFECTS, Verdict.RUN_GOES_ON)):
        session.execute(
            update(planned)
            .where(
                of_plan(planned, plan_id, run_ids),
                planned.c.effect.in_(effects),
                planned.c.undo == Verdict.PUT_BACK.value,
                planned.c.run_id.not_in(whole),
            )
            .values(undo=verdict.value)
        )


def finish_batch(plan_id: UUID, run_ids: Sequence[str], at: datetime, session: Session) -> tuple[int, int]:
    """Count what the transaction put back and what stays, onto the plan; the last run ends it."""
    planned = plan_task_instance
    back = case((planned.c.undo == Verdict.PUT_BACK.value, 1), else_=0)
    total, put_back = session.execute(
        select(func.count(), func.coalesce(func.sum(back), 0)).where(
            of_plan(planned, plan_id, run_ids), planned.c.effect.in_(CLEARED_EFFECTS)
        )
    ).one()
    undone = plan.c.undone_runs + len(run_ids)
    is_more = undone < plan.c.undo_asked_runs
    session.execute(
        update(plan)
        .where(plan.c.id == plan_id)
        .values(
            undone_runs=undone,
            put_back=plan.c.put_back + put_back,
            stayed=plan.c.stayed + (total - put_back),
            last_step_at=at,
            status=case((undone >= plan.c.cleared_runs, "undone"), else_=plan.c.status),
            next_step_at=case((is_more, database_time()), else_=None),
            lease_owner=case((is_more, plan.c.lease_owner), else_=None),
            leased_until=case((is_more, plan.c.leased_until), else_=None),
        )
    )
    return put_back, total - put_back


def begin_batch(plan_id: UUID, at: datetime, driver: str, session: Session) -> int | None:
    """Take the plan's row for one undoing transaction and return the batch's number.

    ``None`` when it is not a plan to undo, since nothing was cleared, it is being cleared, or all is undone;
    and when another driver has taken it.
    """
    return take_number(plan_id, at, driver, session, *_is_undoable())


def lock_plan(plan_id: UUID, session: Session) -> bool:
    """Take the plan's row, if it is a plan to undo. Returns whether it is."""
    return take_plan(plan_id, session, *_is_undoable())


def _is_undoable() -> tuple[ColumnElement[bool], ...]:
    return plan.c.status.in_(("applied", "stopped")), plan.c.cleared_runs > 0


def choosable_runs(plan_id: UUID, choice: RunChoice, limit: int, session: Session) -> list[str]:
    """Return the ids of the first chosen runs that are cleared and not undone."""
    wanted = [plan_run.c.plan_id == plan_id, *open_runs(choice.run_ids or None)]
    if choice.part:
        wanted.append(plan_run.c.run_id.icontains(choice.part, autoescape=True))
    if choice.without:
        wanted.append(plan_run.c.run_id.not_in(choice.without))
    return list(session.scalars(select(plan_run.c.run_id).where(*wanted).order_by(*RUN_ORDER).limit(limit)))


def cleared_runs(plan_id: UUID, session: Session) -> int:
    """Return how many runs of the plan are cleared, undone ones too."""
    return session.scalar(select(plan.c.cleared_runs).where(plan.c.id == plan_id)) or 0


def audit_select(plan_id: UUID, run_ids: Sequence[str]) -> Select[Any]:
    """Select what the audit log says of each task instance that was put back."""
    rows = plan_task_instance
    return select(
        rows.c.run_id,
        logical_date_of(rows),
        rows.c.task_id,
        rows.c.map_index,
        rows.c.try_number,
        rows.c.undo_state.label("state"),
        literal(Verdict.PUT_BACK.value).label("effect"),
    ).where(
        of_plan(rows, plan_id, run_ids),
        rows.c.undo == Verdict.PUT_BACK.value,
        rows.c.effect.in_(CLEARED_EFFECTS),
    )


def states_put_back(plan_id: UUID, run_ids: Sequence[str], session: Session) -> set[tuple[str | None, str]]:
    """Return the states with effects that :func:`audit_select` yields."""
    rows = audit_select(plan_id, run_ids).subquery().c
    return {(row.state, row.effect) for row in session.execute(select(rows.state, rows.effect).distinct())}
