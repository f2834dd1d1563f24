"""A driver in the process of the test, for what an api-server's own does in its thread."""

from __future__ import annotations

import os
import time
from uuid import UUID

from sqlalchemy import case, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.driver.leases import LEASE
from safe_clear_plugin.storage.tables import plan as plan_table

LONGEST = 300
"""Seconds until it counts as hanging, also on a machine that is busy with other tests."""
_drivers: dict[int, Driver] = {}


def driver() -> Driver:
    """Return the driver of this process; one that is forked from it has another."""
    return _drivers.setdefault(os.getpid(), Driver())


def is_under_way(plan: PlanSummary) -> bool:
    """Whether the plan is being cleared or undone."""
    return plan.status == PlanStatus.APPLYING or plan.is_undoing


def try_once(plan_id: str) -> PlanSummary:
    """Take one step of the plan, whatever comes of it, and return the plan as it then is."""
    driver().run_once(UUID(hex=plan_id))
    return get_plan(plan_id)


def drive_once(plan_id: str) -> PlanSummary:
    """Clear or undo the next batch of the plan, in its turn, and return the plan as it then is."""
    before, end = get_plan(plan_id), time.monotonic() + LONGEST
    plan = before
    while is_under_way(plan) and _progress(plan) == _progress(before):
        assert time.monotonic() < end, f"no batch within {LONGEST} s"
        if not driver().run_once(UUID(hex=plan_id)):
            time.sleep(0.02)
        plan = get_plan(plan_id)
    return plan


def drive(plan_id: str) -> PlanSummary:
    """Clear or undo the plan to its end, and return it as it then is."""
    plan, end = get_plan(plan_id), time.monotonic() + LONGEST
    while is_under_way(plan):
        assert time.monotonic() < end, f"no end within {LONGEST} s"
        plan = drive_once(plan_id)
    return plan


def end_pause() -> None:
    """End the schedulers' turn, so that the next batch waits for nobody."""
    with new_session() as session:
        session.execute(scheduler_pause.pause.delete())


def set_clock_forward(session: Session, plan: PlanSummary, seconds: float) -> None:
    """Have the plan look as it will so many seconds after its last step, if no driver does anything."""
    due, until = plan_table.c.next_step_at, plan_table.c.leased_until
    left = database_time(LEASE.total_seconds() - seconds)
    moved = {
        due.name: case((due.is_not(None), database_time(-seconds)), else_=None),
        until.name: case((until.is_not(None), left), else_=None),
    }
    session.rollback()
    session.execute(update(plan_table).where(plan_table.c.id == UUID(plan.id)).values(moved))
    session.commit()


def _progress(plan: PlanSummary) -> tuple[object, ...]:
    return plan.batches, plan.status, plan.undo_asked_runs
