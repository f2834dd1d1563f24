"""Rows in Airflow's own audit log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow.models.log import Log
from sqlalchemy import Select, insert
from sqlalchemy.orm import Session

CLEAR_EVENT = "safe_clear"
UNDO_EVENT = "safe_clear_undo"
STUCK_EVENT = "stuck in queued reschedule"
"""What the scheduler writes as it takes a task instance back from an executor that never started it
(``TASK_STUCK_IN_QUEUED_RESCHEDULE_EVENT``, whose module is too heavy to import)."""
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the id that the auth manager knows, and the name that people know."""

    id: str
    name: str


def record(
    event: str,
    planned: Select[Any],
    *,
    dag_id: str,
    plan_id: str,
    reason: str,
    actor: Actor,
    details: Mapping[str, Any] | None = None,
    session: Session,
) -> None:
    """Write an audit row per task instance that ``planned`` selects, in the transaction that changes them.

    ``planned`` yields run_id, logical_date, task_id, map_index, try_number, state and effect; ``details`` are
    the same for all. Airflow's decorator for its own endpoint commits before the endpoint runs, and so logs a
    refused clear too.
    """
    now = datetime.now(timezone.utc)
    rows = session.execute(planned)
    for part in rows.partitions(BATCH):
        session.execute(
            insert(Log),
            [
                {
                    "dttm": now,
                    "event": event,
                    "dag_id": dag_id,
                    "run_id": row.run_id,
                    "task_id": row.task_id,
                    "map_index": row.map_index,
                    "try_number": row.try_number,
                    "logical_date": row.logical_date,
                    # Airflow's own rows have the name here too: it is what the Audit Log page shows.
                    "owner": actor.name[:500],
                    "owner_display_name": actor.name[:500],
                    "extra": json.dumps(
                        {
                            "plan_id": plan_id,
                            "user_id": actor.id,
                            "reason": reason,
                            "state_before": row.state,
                            "effect": row.effect,
                            **(details or {}),
                        }
                    ),
                }
                for row in part
            ],
        )
