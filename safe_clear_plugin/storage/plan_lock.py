"""Taking a plan's row for a transaction, as each step of a plan does before it reads anything else."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.storage.tables import plan


def take_plan(plan_id: UUID, session: Session, *conditions: ColumnElement[bool]) -> bool:
    """Lock the plan's row until the transaction ends, if it meets the conditions. Return whether it does.

    This is a write, because on SQLite only a write keeps other writers out.
    """
    held = update(plan).where(plan.c.id == plan_id, *conditions).values(status=plan.c.status)
    return count_written(held, session) == 1
