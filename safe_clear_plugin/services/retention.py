"""Removes plans that are past their retention, in a background thread.

``airflow db clean`` knows only the tables on its own list.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.storage import plan_purge
from safe_clear_plugin.storage.plan_purge import Retention

UNCONFIRMED_KEPT = timedelta(days=1)
"""The time for which a plan that nobody confirmed stays in the list of plans after it expired."""

_one_at_a_time = threading.Lock()


def retention(now: datetime) -> Retention:
    """Return which plans are kept at a moment."""
    days = config.history_retention_days()
    return Retention(now, now - UNCONFIRMED_KEPT, now - timedelta(days=days) if days else None)


def long_expired(now: datetime) -> datetime:
    """Return the moment before which a plan must have expired to be removed at once."""
    return now - UNCONFIRMED_KEPT - timedelta(seconds=1)


def is_over(plan: PlanSummary, now: datetime) -> bool:
    """Whether the plan's rows are being removed: it can neither go on nor be undone."""
    with new_session() as session:
        return is_over_in(plan, now, session)


def is_over_in(plan: PlanSummary, now: datetime, session: Session) -> bool:
    """Say the same in a transaction, for one that has locked the plan's row."""
    return plan_purge.is_over(UUID(plan.id), retention(now), session)


def clean_up(now: datetime) -> None:
    """Remove all plans that are kept no longer, however large, in transactions of bounded size.

    It rests after each for as long as that took, so that SQLite's other writers get their turn.
    """
    _remove(retention(now))


def clean_up_beside(now: datetime) -> threading.Thread | None:
    """Do the same in a thread of its own, if there is anything to remove and it is not being removed.

    A process that ends meanwhile loses nothing: the next plan that is made goes on with it.
    """
    kept = retention(now)
    with new_session() as session:
        if not plan_purge.any_is_over(kept, session):
            return None
    if not _one_at_a_time.acquire(blocking=False):
        return None
    thread = threading.Thread(
        target=_remove_and_release, args=(kept,), name="safe-clear-clean-up", daemon=True
    )
    thread.start()
    return thread


def _remove_and_release(kept: Retention) -> None:
    try:
        _remove(kept)
    except SQLAlchemyError as error:
        failures.explain(error, "removing old plans")
    finally:
        _one_at_a_time.release()


def _remove(kept: Retention) -> None:
    while True:
        begun = time.monotonic()
        if not retrying(_remove_some, kept):
            return
        time.sleep(time.monotonic() - begun)


def _remove_some(kept: Retention) -> int:
    with new_session() as session:
        return plan_purge.purge(kept, session)
