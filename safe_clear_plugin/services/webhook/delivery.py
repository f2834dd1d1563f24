"""Delivers messages of the outbox: at least once each, in order within a plan."""

from __future__ import annotations

import json
import logging
import time
import traceback

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.webhook import Attempt, DeliveryProblem, Format, Message, Webhook, signed_headers
from safe_clear_plugin.core.webhook_text import problem_text, slack_body
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.webhook.post import post
from safe_clear_plugin.storage.webhook import deliveries
from safe_clear_plugin.storage.webhook.deliveries import Due

log = logging.getLogger(__name__)


def deliver_due() -> bool:
    """Send the message that is due longest, and return whether there was one: another may be due, too.

    It takes some seconds if the receiver hangs. A process that ends between the request and the record of
    its outcome has the message sent once more. A message that fails is tried again later; the next ones of
    its plan wait for it, those of other plans do not.
    """
    due = _read_next()
    if due is None:
        return False
    if due.is_expired:
        if retrying(_give_up, due):
            log.error("Plan %s: the webhook was not told in time of message %s.", due.plan_id.hex, due.number)
        return True
    taken = retrying(_take, due)
    if taken is not None:
        retrying(_record, taken, _send(taken))
    return True


def _send(due: Due) -> Attempt:
    try:
        hook = config.webhook()
    except Refused as unusable:
        log.error("The webhook was not told: %s", unusable.problem.reason)
        return Attempt(DeliveryProblem.OPTION)
    if hook is None:
        log.error("The webhook was not told: the option `webhook_url` is not set where the driver runs.")
        return Attempt(DeliveryProblem.OPTION)
    try:
        body = body_of(due.body, hook)
        attempt = post(hook, body, signed_headers(due.id, int(time.time()), body, hook.secret))
    except Exception as error:  # noqa: BLE001
        # After any error, the sender goes on with the other messages. The error's text may contain the URL,
        # so the log has only the place where it came up.
        log.error(
            "Plan %s: %s while telling the webhook.\n%s",
            due.plan_id.hex,
            type(error).__name__,
            "".join(traceback.format_tb(error.__traceback__)),
        )
        return Attempt(DeliveryProblem.ERROR)
    if attempt.problem is not None:
        log.warning(
            "Plan %s: the webhook was not told of message %s: %s.",
            due.plan_id.hex,
            due.number,
            problem_text(attempt.problem, attempt.http_status, hook.host),
        )
    return attempt


def body_of(stored: str, hook: Webhook) -> bytes:
    """Return a stored message as it is sent."""
    if hook.format == Format.JSON:
        return stored.encode()
    return json.dumps(slack_body(Message.model_validate_json(stored))).encode()


def _read_next() -> Due | None:
    with new_session() as session:
        return deliveries.next_due(session)


def _take(due: Due) -> Due | None:
    with new_session() as session:
        return deliveries.take(due, session)


def _give_up(due: Due) -> bool:
    with new_session() as session:
        return deliveries.give_up(due, session)


def _record(due: Due, attempt: Attempt) -> None:
    with new_session() as session:
        deliveries.record(due, attempt, session)
