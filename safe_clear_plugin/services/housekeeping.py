"""Removes plans that are kept no longer, beside the requests, so that Safe Clear's tables stay small.

``airflow db clean`` knows only the tables on its own list.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from safe_clear_plugin.airflow_api import settings
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.retrying import retrying
from safe_clear_plugin.storage import purging
from safe_clear_plugin.storage.purging import Retention

UNCONFIRMED_KEPT = timedelta(days=1)
"""How long a plan that nobody confirmed stays in the list of plans after it expired."""

_one_at_a_time = threading.Lock()


def retention(now: datetime) -> Retention:
    """Return which plans are kept at a moment."""
    days = settings.history_retention_days()
    return Retention(now, now - UNCONFIRMED_KEPT, now - timedelta(days=days) if days else None)


def is_over(plan: PlanSummary, now: datetime) -> bool:
    """Whether the plan's rows are being removed: it can neither go on nor be undone."""
    with new_session() as session:
        return purging.is_over(UUID(plan.id), retention(now), session)


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
        if not purging.any_is_over(kept, session):
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
        return purging.purge(kept, session)
