"""How a plan stands at one moment is the same in Python and in SQL."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import product
from uuid import UUID

import pytest
from sqlalchemy import select, update

from safe_clear_plugin.core.plan import HEARTBEAT_TIMEOUT, PlanStatus, ShownStatus
from safe_clear_plugin.storage.plans import plan_reader, plan_status
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.acting import days, plan_of
from tests.support.scenes import store_etl

pytestmark = pytest.mark.backend

NOW = datetime(2026, 11, 4, 3, 12, 9, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)
EXPIRES = (NOW - TICK, NOW, NOW + TICK)
STEPS = (None, NOW - HEARTBEAT_TIMEOUT - TICK, NOW - HEARTBEAT_TIMEOUT, NOW - HEARTBEAT_TIMEOUT + TICK)
REQUESTS = (None, NOW - timedelta(hours=1))


def test_python_and_sql_agree_on_every_plan(session):
    store_etl(session)
    plan_id, seen = UUID(plan_of(days(1, 1)).id), set()
    for status, expires_at, last_step_at, asked_at in product(PlanStatus, EXPIRES, STEPS, REQUESTS):
        case = {
            "status": status,
            "expires_at": expires_at,
            "last_step_at": last_step_at,
            "approval_asked_at": asked_at,
        }
        session.execute(update(plan_table).where(plan_table.c.id == plan_id).values(case))
        plan = plan_reader.get(plan_id, session)
        where = plan_table.c.id == plan_id
        assert session.scalar(select(plan_status.shown_status(NOW)).where(where)) == plan.shown_status(NOW), (
            case
        )
        interrupted = session.scalar(select(plan_table.c.id).where(where, plan_status.is_interrupted(NOW)))
        assert bool(interrupted) == plan.is_interrupted(NOW), case
        seen.add(plan.shown_status(NOW))
    assert seen == set(ShownStatus)
