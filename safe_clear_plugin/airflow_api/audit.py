"""Rows in Airflow's own audit log."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow.models.log import Log
from sqlalchemy import ColumnElement, Select, and_, case, insert, literal, select
from sqlalchemy.orm import Session

CLEAR_EVENT = "safe_clear"
UNDO_EVENT = "safe_clear_undo"
STUCK_EVENT = "stuck in queued reschedule"
"""What the scheduler writes as it takes a task instance back from an executor that never started it
(``TASK_STUCK_IN_QUEUED_RESCHEDULE_EVENT``, whose module is too heavy to import)."""
OF_THE_PLAN = ("run_id", "task_id", "map_index", "try_number", "logical_date")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the id that the auth manager knows, and the name that people know."""

    id: str
    name: str


def record(
    event: str,
    planned: Select[Any],
    kinds: Collection[tuple[str | None, str]],
    *,
    dag_id: str,
    plan_id: str,
    reason: str,
    actor: Actor,
    details: Mapping[str, Any] | None = None,
    session: Session,
) -> None:
    """Write an audit row per task instance that ``planned`` selects, in the transaction that changes them.

    ``planned`` yields run_id, logical_date, task_id, map_index, try_number, state and effect; ``kinds`` are
    the states with effects that there are among them; ``details`` are the same for all. Airflow's decorator
    for its own endpoint commits before the endpoint runs, and so logs a refused clear too.
    """
    now = datetime.now(timezone.utc)
    rows = planned.subquery()

    def extra(state: str | None, effect: str) -> str:
        said = {"plan_id": plan_id, "user_id": actor.id, "reason": reason}
        return json.dumps({**said, "state_before": state, "effect": effect, **(details or {})})

    if not kinds:
        return
    values: dict[str, ColumnElement[Any]] = {
        "dttm": literal(now, Log.dttm.type),
        "event": literal(event, Log.event.type),
        "dag_id": literal(dag_id, Log.dag_id.type),
        # Airflow's own rows have the name here too: it is what the Audit Log page shows.
        "owner": literal(actor.name[:500], Log.owner.type),
        "owner_display_name": literal(actor.name[:500], Log.owner_display_name.type),
        "extra": case(
            *(
                (
                    and_(rows.c.state.is_not_distinct_from(state), rows.c.effect == effect),
                    literal(extra(state, effect), Log.extra.type),
                )
                for state, effect in kinds
            )
        ),
        **{name: rows.c[name] for name in OF_THE_PLAN},
    }
    session.execute(insert(Log.__table__).from_select(list(values), select(*values.values())))
