"""How Safe Clear's tables stay small: what goes, when, in which pieces, and what stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from safe_clear_plugin.services import retention
from safe_clear_plugin.services.planning import preview
from safe_clear_plugin.services.retention import clean_up, clean_up_beside
from safe_clear_plugin.storage import plan_purge
from safe_clear_plugin.storage.tables import metadata, plan
from tests.crash.killing import Point, run_killed_at
from tests.db.acting import clear, days, now, plan_of, reread, step, undo
from tests.support.factories import leave_trail, set_states, task_instances
from tests.support.scenes import store_etl
from tests.support.statements import statements
from tests.support.threads import wait_for_clean_up

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def dag(session):
    return store_etl(session, runs=6)


@pytest.fixture
def few_rows_at_once(monkeypatch):
    """Make a plan of these tests a large one."""
    monkeypatch.setattr(plan_purge, "ROWS", 5)


@pytest.fixture
def kept_7_days(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "7")


def age(session, made, **by):
    """Move a plan into the past."""
    names = ("created_at", "expires_at", "applied_at", "last_step_at")
    row = session.execute(select(plan).where(plan.c.id == UUID(made.id))).one()
    values = {name: getattr(row, name) - timedelta(**by) for name in names if getattr(row, name)}
    session.execute(update(plan).where(plan.c.id == UUID(made.id)).values(**values))
    session.commit()


def rows(session):
    """Count the rows of Safe Clear's tables, all together."""
    session.rollback()
    return sum(session.scalar(select(func.count()).select_from(table)) for table in metadata.sorted_tables)


def plans(session):
    session.rollback()
    return {found.hex for found in session.scalars(select(plan.c.id))}


def test_after_many_large_plans_the_tables_hold_no_more_than_after_two(session, few_rows_at_once):
    """Each plan is larger than what one transaction removes, and each expires before the next is made."""
    sizes, made = [], None
    for _ in range(8):
        if made is not None:
            age(session, made, days=2)
        made = plan_of(days(1, 6))
        wait_for_clean_up()
        sizes.append(rows(session))
    assert sizes == [sizes[0]] * 8
    assert plans(session) == {made.id}


def test_one_plan_that_is_a_thousand_times_as_large_as_the_next_goes_whole(session, monkeypatch):
    large = clear(plan_of(days(1, 6)))
    monkeypatch.setattr(plan_purge, "ROWS", 1)
    age(session, large, days=100)
    small = plan_of(days(1, 1, task_regex="^load$"))
    wait_for_clean_up()
    assert plans(session) == {small.id}


def test_no_transaction_removes_more_than_its_share_even_of_a_single_run(session, monkeypatch):
    """Reschedules, relations and before-images count too, and a run may hold a million of them."""
    run = task_instances_of("run_1", session)[0].dag_run
    set_states(run, {"load": "up_for_reschedule"}, session=session)
    [load] = [ti for ti in task_instances_of("run_1", session) if ti.task_id == "load"]
    leave_trail(load, "rescheduled", session=session)
    session.commit()
    made = clear(plan_of(days(1, 1)))
    monkeypatch.setattr(plan_purge, "ROWS", 2)
    age(session, made, days=100)
    before, removed = rows(session), []
    session.rollback()
    while number := plan_purge.purge(retention.retention(now()), session):
        session.commit()
        removed.append(number)
        after = rows(session)
        assert before - after <= 2 + 1  # the plan's own row
        before = after
    assert len(removed) > 5
    assert rows(session) == 0


def task_instances_of(run_id, session):
    from airflow.models.dagrun import DagRun

    run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
    return task_instances(run, session=session)


def test_receipts_that_an_undo_may_need_stay_for_the_days_that_are_set(
    session, kept_7_days, few_rows_at_once
):
    young, old = step(plan_of(days(1, 1))), step(plan_of(days(2, 2)))
    age(session, young, days=6, hours=23)
    age(session, old, days=7, hours=1)
    clean_up(now())
    assert plans(session) == {young.id}
    assert undo(reread(young, session)).put_back == 3


def test_a_plan_that_is_being_removed_can_neither_go_on_nor_be_undone(session, kept_7_days):
    """By the one condition that also chooses what is removed."""
    made = step(plan_of(days(1, 1)))
    for hours, over in ((-1, False), (1, True)):
        at = now() + timedelta(days=7, hours=hours)
        assert retention.is_over(made, at) is over
        assert plan_purge.any_is_over(retention.retention(at), session) is over


def test_expired_plans_that_hold_much_go_before_their_day_is_over(session, monkeypatch):
    """The newest of them stays, and what has not expired or was cleared does not count."""
    monkeypatch.setattr(plan_purge, "EXPIRED_ROWS_KEPT", 20)
    cleared, *expired = [
        step(plan_of(days(1, 6, task_regex="^load$"))),
        *(plan_of(days(2, 6)) for _ in range(4)),
    ]
    fresh = plan_of(days(1, 1))
    for number, made in enumerate(reversed(expired)):
        age(session, made, hours=1, minutes=number)
    clean_up(now())
    # Each holds 15: after the newest two, 30 of 20 are held.
    assert plans(session) == {cleared.id, fresh.id, *(made.id for made in expired[-2:])}


def test_two_who_remove_at_once_remove_all_of_it_once(session, few_rows_at_once):
    for made in [plan_of(days(1, 6)) for _ in range(3)]:
        age(session, made, days=2)
    session.rollback()
    with ThreadPoolExecutor(2) as pool:
        for removal in [pool.submit(clean_up, now()) for _ in range(2)]:
            removal.result(60)
    clean_up(now())  # whatever the other one held when the first was through
    assert rows(session) == 0


def test_a_removal_that_was_killed_half_way_is_gone_on_with(session, few_rows_at_once):
    made = clear(plan_of(days(1, 6)))
    age(session, made, days=100)
    whole = rows(session)
    session.rollback()
    run_killed_at(Point("after", "purge", (plan_purge, "purge"), 3), lambda: clean_up(now()))
    assert 0 < rows(session) < whole
    assert plans(session) == {made.id}
    clean_up(now())
    assert rows(session) == 0


def test_a_preview_does_not_wait_for_the_removal(session, few_rows_at_once, monkeypatch):
    age(session, plan_of(days(1, 6)), days=2)
    go_on, real = threading.Event(), plan_purge.purge

    def waits(*args):
        assert go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(plan_purge, "purge", waits)
    made = plan_of(days(1, 1))
    assert len(plans(session)) == 2
    # One at a time in a process.
    assert clean_up_beside(now()) is None
    go_on.set()
    wait_for_clean_up()
    assert plans(session) == {made.id}


def test_a_preview_with_nothing_to_remove_starts_nothing(session, monkeypatch):
    monkeypatch.setattr(plan_purge, "purge", pytest.fail)
    plan_of(days(1, 6))
    with statements(session) as sent:
        assert clean_up_beside(now()) is None
    assert len([one for one in sent if "safe_clear_plan" in one]) == 1


def test_a_preview_that_fails_removes_nothing(session, monkeypatch):
    monkeypatch.setattr(retention, "clean_up_beside", pytest.fail)
    with pytest.raises(preview.Invalid):
        plan_of(days(20, 21))
