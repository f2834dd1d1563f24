"""What a plan says of plans and clears of other users over the same task instances."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from safe_clear_plugin.findings import concurrent_plans
from safe_clear_plugin.storage import tables
from tests.db.acting import ME, OTHER, clear, plan_of, undo
from tests.db.finding_scenes import (
    chain,
    finding,
    one_run,
    store_with_runs,
)

pytestmark = pytest.mark.backend


@pytest.mark.one_database
def test_the_open_plan_of_another_user_is_named(session):
    first, second = store_with_runs(chain("etl", "a", "b"), session, dict.fromkeys("ab", "failed"), runs=2)
    theirs = plan_of(one_run(first, task_regex="^a$"), OTHER)
    found = finding(plan_of(one_run(first)), "other_plan")
    assert found.title == "1 task instance is also in a plan by Somebody else"
    assert [(link.kind, link.id) for link in found.links] == [("plan", theirs.id)]
    assert "previewed a clear of 1 task instance of these" in found.detail
    assert finding(plan_of(one_run(second)), "other_plan") is None
    assert finding(plan_of(one_run(first, task_regex="^b$")), "other_plan") is None


def test_a_preview_counts_while_it_is_fresh_and_for_as_long_as_it_waits_for_approval(session):
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "failed"})
    theirs = plan_of(one_run(run), OTHER)

    def change(**values):
        session.execute(tables.plan.update().where(tables.plan.c.id == UUID(theirs.id)).values(**values))
        session.commit()

    made = theirs.created_at
    change(created_at=made - concurrent_plans.FRESH + timedelta(minutes=1))
    assert finding(plan_of(one_run(run)), "other_plan") is not None
    change(created_at=made - concurrent_plans.FRESH)
    assert finding(plan_of(one_run(run)), "other_plan") is None
    change(approval_asked_at=made - timedelta(minutes=4))
    found = finding(plan_of(one_run(run)), "other_plan")
    assert "Somebody else asks for approval to clear 1 task instance of these" in found.detail
    change(expires_at=made - timedelta(minutes=1))
    assert finding(plan_of(one_run(run)), "other_plan") is None


@pytest.mark.one_database
def test_own_plans_are_not_named(session):
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "failed"})
    plan_of(one_run(run), ME)
    assert finding(plan_of(one_run(run), ME), "other_plan") is None


@pytest.mark.one_database
def test_the_recent_clear_of_another_user_is_named_until_it_is_undone(session):
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "failed"})
    theirs = clear(plan_of(one_run(run), OTHER), OTHER)
    found = finding(plan_of(one_run(run)), "other_plan")
    assert found.title == "1 task instance was cleared within the last day by Somebody else"
    undo(theirs, actor=OTHER)
    assert finding(plan_of(one_run(run)), "other_plan") is None


def test_clears_in_progress_are_named_before_open_plans(session):
    """Even before the first batch, and with more open plans about than are looked at."""
    [run] = store_with_runs(chain("etl", "a"), session, {"a": "failed"})
    claimed = plan_of(one_run(run), OTHER)
    for _ in range(concurrent_plans.MAX_PLANS):
        plan_of(one_run(run), OTHER)
    of_claimed = tables.plan.c.id == UUID(claimed.id)
    values = {"status": "applying", "applied_by": OTHER.id, "last_step_at": claimed.created_at}
    session.execute(tables.plan.update().where(of_claimed).values(**values))
    session.commit()
    found = finding(plan_of(one_run(run)), "other_plan")
    assert [link.id for link in found.links][:1] == [claimed.id]
    assert "is clearing" in found.detail
