"""Keeping Safe Clear's tables small: old plans go a little at a time, whenever a new one is made.

``airflow db clean`` knows only the tables on its own list.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from safe_clear_plugin.airflow_api import settings
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage import purging

UNAPPLIED_KEPT = timedelta(days=1)
"""How long a plan that nobody confirmed stays in the list of plans after it expired."""
PLANS_AT_ONCE = 5


def is_over(plan: PlanSummary, now: datetime) -> bool:
    """Whether the plan's rows are being removed: it can neither go on nor be undone."""
    days = settings.history_retention_days()
    last = plan.last_step_at or plan.applied_at
    return bool(days and last and last < now - timedelta(days=days))


def clean_up(now: datetime) -> None:
    """Remove old plans, receipts and before-images: a bounded number of rows, each plan by itself."""
    days = settings.history_retention_days()
    applied_before = now - timedelta(days=days) if days else None
    for _ in range(PLANS_AT_ONCE):
        with new_session() as session:
            if not purging.purge(now - UNAPPLIED_KEPT, applied_before, session):
                return
