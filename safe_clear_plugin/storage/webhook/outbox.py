"""The outbox: webhook messages, written in the transaction of the event that they report."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_text import sentence
from safe_clear_plugin.core.webhook import KEPT_TRYING, Delivery, Event, Message, counts_of, stop_of
from safe_clear_plugin.storage.change_sets import records
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import message


def tell(event: Event, plan_id: UUID, session: Session, *, by: str = "", reason: str | None = None) -> None:
    """Write a message about the plan as it is now, if there is a webhook.

    The message is sent if the transaction commits. The transaction has written to the plan's row, so that the
    messages of one plan are numbered one after the other. ``by`` is the name of the person who acted;
    ``reason`` is that person's reason, if it is not the plan's.

    For a plan in a change set, the message is about the set. ``done`` is sent once, when the last plan is
    done; if another plan has stopped, ``stopped`` is sent instead. The transaction holds the rows of all
    plans.
    """
    if not config.has_webhook():
        return
    plan = plan_reader.get(plan_id, session)
    if plan is None:
        return
    if plan.change_set_id:
        found = records.get(UUID(plan.change_set_id), session)
        if found is None or (event is Event.DONE and found.is_applying):
            return
        if event is Event.DONE and (stopped := found.stopped_plan):
            event, plan = Event.STOPPED, stopped
        _tell(event, found, plan, session, by=by, reason=reason)
        return
    _tell(event, None, plan, session, by=by, reason=reason)


def _tell(
    event: Event, of: ChangeSet | None, plan: PlanSummary, session: Session, *, by: str, reason: str | None
) -> None:
    """Write a message about a plan or its set. Its number follows the messages of the set's first plan."""
    about = of or plan
    plans = of.plans if of else (plan,)
    first = plans[0]
    number, at = _next_number(UUID(first.id), session)
    body = Message(
        id=uuid4(),
        number=number,
        event=event,
        at=at,
        by=by,
        plan_id=plan.id,
        url=config.change_set_url(of.id) if of else config.plan_url(plan.id),
        dag_id=plan.dag_id,
        change_set_id=of.id if of else None,
        dag_ids=[one.dag_id for one in plans],
        status=about.shown_status(at),
        sentence=sentence(first.selection, on_latest=first.run_on_latest_version),
        created_by=about.created_by_name,
        reason=about.reason if reason is None else reason,
        counts=counts_of(*plans),
        stop_reason=stop_of(plan, event),
        waits_because=plan.wave_reason if plan.is_waiting_for_person else None,
    )
    _write(UUID(first.id), body, session)


def _next_number(plan_id: UUID, session: Session) -> tuple[int, datetime]:
    last = select(func.coalesce(func.max(message.c.number), 0)).where(message.c.plan_id == plan_id)
    at, number = session.execute(select(database_time(), last.scalar_subquery() + 1)).one()
    return number, at


def _write(plan_id: UUID, body: Message, session: Session) -> None:
    session.execute(
        insert(message).values(
            plan_id=plan_id,
            number=body.number,
            id=body.id,
            event=body.event.value,
            body=body.model_dump_json(),
            created_at=body.at,
            delivery=Delivery.PENDING.value,
            next_attempt_at=body.at,
            expires_at=body.at + KEPT_TRYING,
        )
    )


def tell_end_of_undo(plan_id: UUID, session: Session) -> None:
    """Write a message that an undo has ended, with the runs that it left out, unless there is more to undo.

    For a plan in a change set, nothing is written while another plan of the set is being undone. The message
    does not name runs that an earlier undo left out.
    """
    if not config.has_webhook():
        return
    plan = plan_reader.get(plan_id, session)
    if plan is None or plan.is_undoing:
        return
    plans = records.plans_of(UUID(plan.change_set_id), session) if plan.change_set_id else (plan,)
    if any(one.is_undoing for one in plans):
        return
    left = next((one for one in plans if one.left_out and not one.left_out.is_earlier), None)
    event = Event.UNDO_STOPPED if left else Event.UNDONE
    told = UUID(left.id) if left else plan_id
    tell(event, told, session, by=plan.requester.name, reason=plan.request_reason)
