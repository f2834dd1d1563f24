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
STOP_EVENT = "safe_clear_stop"
RESUME_EVENT = "safe_clear_resume"
ASK_EVENT = "safe_clear_ask"
DECLINE_EVENT = "safe_clear_decline"
WITHDRAW_EVENT = "safe_clear_withdraw"
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
    rows = planned.subquery()

    def extra(state: str | None, effect: str) -> str:
        return _extra(plan_id, reason, actor, {"state_before": state, "effect": effect, **(details or {})})

    if not kinds:
        return
    same_for_all = _columns(event, dag_id, actor).items()
    values: dict[str, ColumnElement[Any]] = {
        **{name: literal(value, Log.__table__.c[name].type) for name, value in same_for_all},
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


def record_decision(
    event: str,
    *,
    dag_id: str,
    plan_id: str,
    reason: str,
    actor: Actor,
    details: Mapping[str, Any] | None = None,
    session: Session,
) -> None:
    """Write one audit row on a plan as a whole, in the transaction that changes the plan."""
    extra = _extra(plan_id, reason, actor, details or {})
    session.execute(insert(Log.__table__).values(**_columns(event, dag_id, actor), extra=extra))


def _columns(event: str, dag_id: str, actor: Actor) -> dict[str, Any]:
    # Airflow's own rows have the name as owner too: it is what the Audit Log page shows.
    name = actor.name[:500]
    return {
        "dttm": datetime.now(timezone.utc),
        "event": event,
        "dag_id": dag_id,
        "owner": name,
        "owner_display_name": name,
    }


def _extra(plan_id: str, reason: str, actor: Actor, details: Mapping[str, Any]) -> str:
    return json.dumps({"plan_id": plan_id, "user_id": actor.id, "reason": reason, **details})
