"""Webhook messages about a plan: their fields, their signature, and why one was not delivered."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.plan import PlanSummary, ShownStatus
from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.core.waves import WaveReason

SCHEMA_VERSION: Literal[1] = 1
"""Grows when a field changes its meaning or goes; fields may be added under the same version."""


class Event(Code):
    """An event of a plan."""

    APPROVAL_REQUESTED = "approval_requested"
    """Its author asks for a second person."""
    DECLINED = "declined"
    """By a second person, or withdrawn by its author: nobody is asked any more."""
    STARTED = "started"
    """It was confirmed, which also answers a request for approval."""
    RESUMED = "resumed"
    """It goes on after it stopped or waited."""
    WAITING = "waiting"
    """It goes on only if a person says so."""
    STOPPED = "stopped"
    """By a person, by an error, or because it was out of date when it was confirmed."""
    DONE = "done"
    """All its dag runs are cleared."""
    UNDONE = "undone"
    """The undo has ended."""
    UNDO_STOPPED = "undo_stopped"
    """An undo was given up, and left dag runs cleared."""


class Format(Code):
    """The format of a message."""

    JSON = "json"
    SLACK = "slack"
    """As Slack's incoming webhooks take it."""


class Delivery(Code):
    """The status of the delivery of a message."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """It is not tried again, unless a person asks for that."""


class DeliveryProblem(Code):
    """Why an attempt to deliver failed."""

    OPTION = "option"
    """An option of the webhook, or of the proxy or the certificates, cannot be used."""
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """The connection broke before there was an answer."""
    REDIRECT = "redirect"
    STATUS = "status"
    """The answer was an error."""
    ERROR = "error"
    """Of Safe Clear itself."""
    EXPIRED = "expired"
    """No driver sent it in time."""


KEPT_TRYING = timedelta(days=1)
"""A message that was not delivered for so long is given up."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Webhook:
    """The receiver of messages. The URL may hold a token: only its host is ever shown."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    format: Format

    @property
    def host(self) -> str:
        """The host of the URL."""
        return host_of(self.url)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt to deliver a message; without a problem, it was delivered."""

    problem: DeliveryProblem | None
    http_status: int | None = None
    retry_after: timedelta | None = None
    """The time for which the receiver asks not to be called."""


class Counts(BaseModel):
    """The numbers of a plan, and its progress."""

    task_instances: int
    dag_runs: int
    cleared: int = Field(description="Task instances cleared so far, in `cleared_dag_runs`.")
    cleared_dag_runs: int
    put_back: int = Field(description="Task instances that an undo restored; `stayed` could not be.")
    stayed: int
    undone_dag_runs: int


class Stop(BaseModel):
    """Why a clear or an undo stopped."""

    kind: StopKind
    reason: str
    remedy: str


class Message(BaseModel):
    """The body of a message."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    id: UUID = Field(description="The same each time that the message is sent.")
    number: int = Field(description="Counts the messages of the plan or change set, from 1.")
    event: Event
    at: datetime
    by: str = Field(description="The name of the person; empty if it was Safe Clear itself.")
    plan_id: str = Field(description="For a change set: the plan that stopped, or else the first plan.")
    url: str | None = Field(
        description="The page of the plan or change set; null if `[api] base_url` is no full URL."
    )
    dag_id: str
    change_set_id: str | None = Field(
        default=None,
        description="The change set that the message is about. All fields except `plan_id` and `dag_id` are "
        "about it.",
    )
    dag_ids: list[str] = Field(
        default_factory=list, description="All Dags of the change set; for a plan, its Dag."
    )
    status: ShownStatus
    sentence: str = Field(description="The selection in words.")
    created_by: str
    reason: str = Field(description="Of the clear, or of what happened to it.")
    counts: Counts
    stop_reason: Stop | None
    waits_because: WaveReason | None = None


def stop_of(plan: PlanSummary, event: Event) -> Stop | None:
    """Return why the clear stopped, or why an undo that stopped left runs out."""
    if event is Event.UNDONE:
        return None
    if event is Event.UNDO_STOPPED:
        left = plan.left_out
        if left is None or left.is_earlier:
            # A person stopped it.
            return None
        return Stop(kind=StopKind.ERROR, reason=left.reason, remedy=left.remedy)
    why = plan.stop_reason
    return Stop(kind=why.kind, reason=why.reason, remedy=why.remedy) if why else None


def counts_of(*plans: PlanSummary) -> Counts:
    """Return the progress of a plan, or of several together."""
    return Counts(
        task_instances=sum(plan.task_instances for plan in plans),
        dag_runs=sum(plan.dag_runs for plan in plans),
        cleared=sum(plan.cleared for plan in plans),
        cleared_dag_runs=sum(plan.cleared_runs for plan in plans),
        put_back=sum(plan.put_back for plan in plans),
        stayed=sum(plan.stayed for plan in plans),
        undone_dag_runs=sum(plan.undone_runs for plan in plans),
    )


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after a number of failed attempts: twice as long each time."""
    wait = FIRST_WAIT
    for _ in range(1, attempts):
        if wait >= LONGEST_WAIT:
            break
        wait *= 2
    return min(wait, LONGEST_WAIT)


def host_of(url: str) -> str:
    """Return the host of a URL; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for.

    As for the libraries of Standard Webhooks, one that begins with ``whsec_`` is in Base64.

    :raises ValueError: what follows is no Base64
    """
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return secret.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ValueError("not Base64") from error


def signed_headers(message_id: UUID, timestamp: int, body: bytes, secret: str) -> Mapping[str, str]:
    """Return the headers that name and sign a message as https://www.standardwebhooks.com has it.

    Without a secret, it is not signed.

    :raises ValueError: the secret cannot be used
    """
    headers = {"webhook-id": str(message_id), "webhook-timestamp": str(timestamp)}
    if secret:
        content = f"{message_id}.{timestamp}.".encode() + body
        digest = hmac.new(signing_key(secret), content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
