"""A webhook at a real server, and moving what is due into the past."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.services.webhook.delivery import deliver_due
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.tables import message

BASE_URL = "https://airflow.example/af"
TOKEN = "T0KEN-of-the-url"
SECRET = "s3cret-of-the-webhook"


def configure(monkeypatch: pytest.MonkeyPatch, url: str, **options: str) -> None:
    """Set the options of the webhook, with a token in its URL."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", BASE_URL)
    values = {"webhook_url": f"{url}/hooks/{TOKEN}", "webhook_secret": SECRET, **options}
    for name, value in values.items():
        monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name.upper()}", value)


def messages(session: Session) -> list[Any]:
    """Return the rows of the outbox, by plan and number."""
    session.rollback()
    rows = session.execute(select(message).order_by(message.c.plan_id, message.c.number)).all()
    session.rollback()
    return list(rows)


def told(session: Session) -> list[tuple[str, str]]:
    """Return event and status of each message of the outbox."""
    bodies = [json.loads(row.body) for row in messages(session)]
    return [(body["event"], body["status"]) for body in bodies]


def states(session: Session) -> list[tuple[str, int]]:
    """Return how the delivery of each message stands, after how many attempts."""
    return [(row.delivery, row.attempts) for row in messages(session)]


def make_due(session: Session) -> None:
    """Let the waits of all pending messages be over, and the leases run out."""
    session.rollback()
    session.execute(
        update(message).where(message.c.delivery == "pending").values(next_attempt_at=database_time(-1))
    )
    session.commit()


def age(session: Session, seconds: float) -> None:
    """Let the messages be as old as that."""
    session.rollback()
    session.execute(update(message).values(expires_at=database_time(24 * 3600 - seconds)))
    session.commit()


def give_up(session: Session, problem: str = "status", http_status: int | None = 503) -> None:
    """Let all messages be given up, whatever the receiver answered."""
    session.rollback()
    session.execute(
        update(message).values(delivery="failed", problem=problem, http_status=http_status, attempts=33)
    )
    session.commit()


def deliver_all() -> int:
    """Send what is due, and return how often something was."""
    for times in range(100):
        if not deliver_due():
            return times
    raise AssertionError("there is no end of it")
