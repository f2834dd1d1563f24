"""How a plan stands at one moment is the same in Python and in SQL."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import product
from uuid import UUID

import pytest
from sqlalchemy import select, update

from safe_clear_plugin.core.plan import PlanStatus, ShownStatus
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.plans import plan_reader, plan_status
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.acting import days, plan_of
from tests.support.scenes import store_etl

pytestmark = pytest.mark.backend

NOW = datetime(2026, 11, 4, 3, 12, 9, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)
EXPIRES = (NOW - TICK, NOW, NOW + TICK)
SECONDS = (None, -90, -30, 30)
"""When the next step is due, and until when a driver has the plan, seen from the database's clock."""
REQUESTS = (None, NOW - timedelta(hours=1))


def test_python_and_sql_agree_on_every_plan(session):
    store_etl(session)
    plan_id, seen = UUID(plan_of(days(1, 1)).id), set()
    for status, expires_at, due, leased, asked_at in product(
        PlanStatus, EXPIRES, SECONDS, (None, -30, 30), REQUESTS
    ):
        case = {
            "status": status,
            "expires_at": expires_at,
            "next_step_at": None if due is None else database_time(due),
            "leased_until": None if leased is None else database_time(leased),
            "approval_asked_at": asked_at,
        }
        session.execute(update(plan_table).where(plan_table.c.id == plan_id).values(case))
        plan = plan_reader.get(plan_id, session)
        where = plan_table.c.id == plan_id
        assert session.scalar(select(plan_status.shown_status(NOW)).where(where)) == plan.shown_status(NOW), (
            case
        )
        no_driver = due == -90 and leased != 30
        assert plan.is_interrupted == (status == PlanStatus.APPLYING and no_driver), case
        seen.add(plan.shown_status(NOW))
    assert seen == set(ShownStatus)
