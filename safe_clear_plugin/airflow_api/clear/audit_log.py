"""Rows in Airflow's own audit log."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.models.log import Log
from sqlalchemy import ColumnElement, Select, and_, case, insert, literal, select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanSummary

CLEAR_EVENT = "safe_clear"
UNDO_EVENT = "safe_clear_undo"
ASK_UNDO_EVENT = "safe_clear_ask_undo"
PAUSE_EVENT = "safe_clear_pause"
STOP_EVENT = "safe_clear_stop"
RESUME_EVENT = "safe_clear_resume"
CONTINUE_EVENT = "safe_clear_continue"
WAVES_EVENT = "safe_clear_waves"
ASK_EVENT = "safe_clear_ask"
DECLINE_EVENT = "safe_clear_decline"
WITHDRAW_EVENT = "safe_clear_withdraw"
STUCK_EVENT = "stuck in queued reschedule"
"""What the scheduler writes as it takes a task instance back from an executor that never started it
(``TASK_STUCK_IN_QUEUED_RESCHEDULE_EVENT``, whose module is too heavy to import)."""
PLAN_FIELDS = ("run_id", "task_id", "map_index", "try_number", "logical_date")


@dataclass(frozen=True, slots=True)
class Entry:
    """An action on a plan, its user and reason; ``details`` go into the row's ``extra``."""

    event: str
    plan: PlanSummary
    reason: str
    actor: Actor
    details: Mapping[str, Any] = field(default_factory=dict)

    def extra(self, **more: Any) -> str:
        """Return the JSON of the column ``extra``."""
        named = {"plan_id": self.plan.id, "user_id": self.actor.id, "reason": self.reason}
        return json.dumps({**named, **more, **self.details})

    def columns(self) -> dict[str, Any]:
        """Return the other columns that are the same in each row of the entry."""
        # Airflow's own rows have the name as owner too: it is what the Audit Log page shows.
        name = self.actor.name[:500]
        return {
            "dttm": utcnow(),
            "event": self.event,
            "dag_id": self.plan.dag_id,
            "owner": name,
            "owner_display_name": name,
        }


def record(
    entry: Entry, planned: Select[Any], kinds: Collection[tuple[str | None, str]], session: Session
) -> None:
    """Write an audit row per task instance that ``planned`` selects, in the transaction that changes them.

    ``planned`` yields run_id, logical_date, task_id, map_index, try_number, state and effect; ``kinds`` are
    the states with effects that there are among them. Airflow's decorator for its own endpoint
    commits before the endpoint runs, and so logs a refused clear too.
    """
    if not kinds:
        return
    rows = planned.subquery()
    values: dict[str, ColumnElement[Any]] = {
        **{name: literal(value, Log.__table__.c[name].type) for name, value in entry.columns().items()},
        "extra": case(
            *(
                (
                    and_(rows.c.state.is_not_distinct_from(state), rows.c.effect == effect),
                    literal(entry.extra(state_before=state, effect=effect), Log.extra.type),
                )
                for state, effect in kinds
            )
        ),
        **{name: rows.c[name] for name in PLAN_FIELDS},
    }
    session.execute(insert(Log.__table__).from_select(list(values), select(*values.values())))


def record_decision(entry: Entry, session: Session) -> None:
    """Write one audit row on a plan as a whole, in the transaction that changes the plan."""
    session.execute(insert(Log.__table__).values(**entry.columns(), extra=entry.extra()))


PROMISED = "promised"
"""The field in a requested undo's extra: how many task instances its preview promised to restore."""


def promised(plan: PlanSummary, session: Session) -> int | None:
    """Return how many task instances the previews promised to the users who asked to undo the plan.

    ``None`` if one of these requests has no such number.
    """
    query = select(Log.extra).where(
        Log.event == ASK_UNDO_EVENT,
        Log.dag_id == plan.dag_id,
        Log.extra.contains(f'"plan_id": "{plan.id}"', autoescape=True),
    )
    told = [json.loads(extra).get(PROMISED) for extra in session.scalars(query)]
    return sum(told) if told and all(isinstance(one, int) for one in told) else None
