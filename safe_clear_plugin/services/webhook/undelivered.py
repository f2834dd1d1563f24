"""Undelivered messages: how pages and programs show them, and sending them again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.webhook import DeliveryProblem, Event
from safe_clear_plugin.core.webhook_text import problem_text
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.storage.webhook import deliveries


@dataclass(frozen=True, slots=True)
class UndeliveredMessage:
    """A message that was given up, or not sent in time, with the reason as text."""

    number: int
    event: Event
    at: datetime
    attempts: int
    problem: DeliveryProblem
    http_status: int | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "at": self.at.isoformat()}


def undelivered(plan: PlanSummary, session: Session) -> list[UndeliveredMessage]:
    """Return the messages of a plan that were given up, or not sent in time, in order."""
    found = deliveries.undelivered(UUID(plan.id), session)
    host = _host() if found else ""
    return [
        UndeliveredMessage(
            number=one.number,
            event=one.event,
            at=one.created_at,
            attempts=one.attempts,
            problem=one.problem,
            http_status=one.http_status,
            text=problem_text(one.problem, one.http_status, host),
        )
        for one in found
    ]


def plans_with_undelivered(plans: list[PlanSummary], session: Session) -> set[str]:
    """Return the ids of the plans that have such a message."""
    found = deliveries.plans_with_undelivered([UUID(plan.id) for plan in plans], session)
    return {plan_id.hex for plan_id in found}


def send_again(plan: PlanSummary) -> None:
    """Have the messages of a plan that did not arrive sent again.

    :raises Refused: 409 if there is no such message, or no webhook any more; 503 if one of the webhook's
        options cannot be used
    """
    if config.webhook() is None:
        raise Refused(
            409,
            Problem(
                "There is no webhook: the option `webhook_url` of the section `[safe_clear]` is not set.",
                "Ask your Airflow administrator to set it.",
            ),
        )
    if not retrying(_send_again, UUID(plan.id)):
        raise Refused(
            409,
            Problem("No message of this plan is left to send again.", "They are on their way or delivered."),
        )


def _send_again(plan_id: UUID) -> int:
    with new_session() as session:
        return deliveries.send_again(plan_id, session)


def _host() -> str:
    try:
        hook = config.webhook()
    except Refused:
        return ""
    return hook.host if hook else ""
