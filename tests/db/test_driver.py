"""The driver: who has which plan, for how long, and what becomes of plans when drivers hang, die or fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
import time_machine
from airflow.models.dagrun import DagRun
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.services import wake_up
from safe_clear_plugin.services.clear import clear_batch
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.driver import loop, steps
from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.driver.thread import start_thread
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.clear import batches
from safe_clear_plugin.storage.database_clock import database_time
from safe_clear_plugin.storage.driver import leases
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.acting import ME, OTHER, clear, confirm, days, now, plan_of, reread, step
from tests.support.driving import drive, set_clock_forward
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = pytest.mark.backend
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def dag(session, monkeypatch):
    """Four runs, one a batch."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    return store_etl(session, runs=4)


def clear_numbers(session):
    session.rollback()
    return sorted(session.scalars(select(DagRun.clear_number)))


def driver_of(plan, session):
    session.rollback()
    return leases.state_of(UUID(plan.id), session)


def test_what_is_confirmed_is_cleared_by_a_driver_and_not_before(session):
    plan = confirm(plan_of(days(1, 3)))
    assert (plan.status, plan.cleared_runs, clear_numbers(session)) == ("applying", 0, [0, 0, 0, 0])
    Driver().run_until_idle()
    plan = reread(plan, session)
    assert (plan.status, plan.batches, clear_numbers(session)) == ("applied", 3, [0, 1, 1, 1])
    assert not Driver().run_once()


def test_one_driver_at_a_time_has_a_plan(session):
    plan, first, second = confirm(plan_of(days(1, 3))), Driver(), Driver()
    assert first.run_once()
    assert not second.run_once()
    assert driver_of(plan, session).name == first.name
    assert first.run_once()
    assert reread(plan, session).cleared_runs == 2


def test_plans_take_turns(session):
    plans = [confirm(plan_of(days(1, 2))), confirm(plan_of(days(3, 4)))]
    driver = Driver()
    for _ in range(2):
        driver.run_once()
    assert [reread(plan, session).cleared_runs for plan in plans] == [1, 1]


def test_another_driver_goes_on_in_under_a_minute_with_what_a_dead_one_had(session):
    plan, dead, other = confirm(plan_of(days(1, 3))), Driver(), Driver()
    dead.run_once()
    set_clock_forward(session, plan, 29)
    assert not other.run_once()
    set_clock_forward(session, plan, 31)
    other.run_until_idle()
    assert reread(plan, session).status == "applied"
    assert clear_numbers(session) == [0, 1, 1, 1]


def test_a_driver_that_hung_past_its_lease_clears_nothing_when_it_comes_back(session):
    plan, hung, other = confirm(plan_of(days(1, 4))), Driver(), Driver()
    hung.run_once()
    set_clock_forward(session, plan, 31)
    assert other.run_once()
    before = snapshot(session)
    session.rollback()
    # It is about to clear the next batch, and does not know that another driver has the plan.
    steps.take_step(UUID(plan.id), hung.name, 0)
    assert not hung.run_once()
    assert diff_snapshots(before, snapshot(session)) == {}
    session.rollback()
    other.run_until_idle()
    assert clear_numbers(session) == [1, 1, 1, 1]


def test_a_driver_that_hung_stops_no_plan_of_another(session, monkeypatch):
    plan, hung, other = confirm(plan_of(days(1, 4))), Driver(), Driver()
    hung.run_once()

    def fails(*_):
        set_clock_forward(session, plan, 31)
        assert other.run_once()
        raise RuntimeError("woken up")

    monkeypatch.setattr(steps, "clear_next_batch", fails)
    with monkeypatch.context() as patch:
        real = clear_batch.clear_next_batch
        patch.setattr(
            steps, "clear_next_batch", lambda found, name: (fails if name == hung.name else real)(found, name)
        )
        assert hung.run_once()
    assert reread(plan, session).status == "applying"
    assert driver_of(plan, session).name == other.name


def test_one_that_hung_and_nobody_took_over_goes_on(session):
    plan, driver = confirm(plan_of(days(1, 2))), Driver()
    driver.run_once()
    set_clock_forward(session, plan, 600)
    driver.run_until_idle()
    assert reread(plan, session).status == "applied"


@pytest.mark.parametrize("skew", [-MINUTE, MINUTE])
def test_the_clocks_of_the_servers_do_not_matter(session, skew):
    """Leases go by the database's clock: a server that is a minute ahead takes no plan of another."""
    with time_machine.travel(datetime.now(timezone.utc) + skew):
        plan = confirm(plan_of(days(1, 3)))
    first, second = Driver(), Driver()
    assert first.run_once()
    with time_machine.travel(datetime.now(timezone.utc) + skew):
        assert not second.run_once()
        assert not get_plan(plan.id).is_interrupted
    assert first.run_once()
    set_clock_forward(session, plan, 31)
    with time_machine.travel(datetime.now(timezone.utc) + skew):
        second.run_until_idle()
    assert reread(plan, session).status == "applied"


def test_many_drivers_clear_and_undo_each_run_once(session):
    plans = [confirm(plan_of(days(1, 2))), confirm(plan_of(days(3, 4)))]
    session.rollback()

    def work(_):
        driver, end = Driver(), time.monotonic() + 30
        while time.monotonic() < end and any(get_plan(one.id).status == "applying" for one in plans):
            # As if each lease ran out at once: now nothing but the batches' own locks keeps them apart.
            driver.run_once()
            time.sleep(0.01)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [reread(plan, session).status for plan in plans] == ["applied", "applied"]
    assert clear_numbers(session) == [1, 1, 1, 1]
    assert all(reread(plan, session).batches == 2 for plan in plans)


def test_without_leases_nothing_is_cleared_twice_either(session, monkeypatch):
    """Correctness is with the batches: here every driver believes that it has the plan."""
    monkeypatch.setattr(leases, "is_held_by", lambda _: leases.plan.c.id.is_not(None))
    monkeypatch.setattr(
        "safe_clear_plugin.storage.clear.status.is_held_by", lambda _: leases.plan.c.id.is_not(None)
    )
    plan = confirm(plan_of(days(1, 4)))
    session.rollback()
    names = [Driver().name for _ in range(4)]

    def work(name):
        for _ in range(20):
            if get_plan(plan.id).status != "applying":
                return
            steps.take_step(UUID(plan.id), name, 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, names))
    drive(plan.id)
    assert clear_numbers(session) == [1, 1, 1, 1]
    assert len(plan_reader.runs(UUID(plan.id), session, limit=9)) == 4
    assert sum(one.dag_runs for one in _recorded(plan, session)) == 4


def _recorded(plan, session):
    from safe_clear_plugin.storage.plans import plan_list

    return plan_list.batches(UUID(plan.id), session)


def test_a_stop_ends_it_after_the_batch_in_hand_and_drivers_leave_it_alone(session):
    plan = step(plan_of(days(1, 4)))
    plan = stop_plan(plan, OTHER, now())
    assert (plan.status, plan.stop_reason.by, plan.cleared_runs) == ("stopped", OTHER.name, 1)
    assert not Driver().run_once()
    plan = confirm(plan, OTHER, resume=True)
    Driver().run_until_idle()
    assert reread(plan, session).status == "applied"


def test_an_undo_is_stopped_and_asked_for_again(session):
    plan = clear(days(1, 3))
    plan = undo_plan(plan, (), "wrong week", ME, now())
    driver = Driver()
    driver.run_once()
    plan = stop_plan(plan, OTHER, now())
    assert (plan.is_undoing, plan.undone_runs, plan.undo_asked_runs) == (False, 1, 1)
    assert not Driver().run_once()
    plan = undo_plan(plan, (), "after all", OTHER, now())
    drive(plan.id)
    assert reread(plan, session).status == "undone"
    assert [one.by_name for one in _recorded(plan, session) if one.kind == "undo"] == [
        "Me",
        *[OTHER.name] * 2,
    ]


def test_an_error_stops_its_plan_and_the_driver_goes_on_with_the_others(session, monkeypatch):
    bad, good = confirm(plan_of(days(1, 2))), confirm(plan_of(days(3, 4)))
    real = clear_batch.clear_next_batch

    def clears(plan, driver):
        if plan.id == bad.id:
            raise RuntimeError("the plug was pulled")
        real(plan, driver)

    monkeypatch.setattr(steps, "clear_next_batch", clears)
    Driver().run_until_idle()
    assert (reread(bad, session).status, reread(bad, session).stop_reason.kind) == ("stopped", "error")
    assert reread(good, session).status == "applied"


def test_a_busy_database_is_waited_for_and_then_it_goes_on(session, monkeypatch):
    monkeypatch.setattr(steps, "PAUSES", (0.05, 0.1))
    plan = confirm(plan_of(days(1, 2)))
    real, failures = batches.next_batch, [1, 2, 3, 4]

    def busy(*args, **options):
        if failures:
            failures.pop()
            raise OperationalError("select", {}, Exception("database is locked"))
        return real(*args, **options)

    monkeypatch.setattr(batches, "next_batch", busy)
    Driver().run_until_idle()
    assert (reread(plan, session).status, failures) == ("applied", [])


def test_a_driver_that_cannot_reach_the_database_lives_and_goes_on_when_it_is_back(session, monkeypatch):
    plan = confirm(plan_of(days(1, 2)))
    real, away = leases.take_next, [1, 2, 3]

    def unreachable(*args):
        if away:
            away.pop()
            raise OperationalError("select", {}, Exception("unable to open database file"))
        return real(*args)

    monkeypatch.setattr(leases, "take_next", unreachable)
    monkeypatch.setattr(loop, "LONGEST_BACK_OFF", 0.05)
    with running_driver():
        wait_for(lambda: reread(plan, session).status == "applied")
    assert away == []


class running_driver:  # noqa: N801
    """A driver's loop in a thread, as an api-server has it."""

    def __enter__(self):
        self.driver, self.stop = Driver(), threading.Event()
        self.thread = threading.Thread(target=self.driver.run, args=(self.stop,))
        self.thread.start()
        return self.driver

    def __exit__(self, *_):
        self.stop.set()
        wake_up.wake_up()
        self.thread.join(30)
        assert not self.thread.is_alive()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_confirmed_plan_wakes_the_driver_of_the_process(session, monkeypatch):
    monkeypatch.setattr(loop, "POLL", 60)
    with running_driver():
        time.sleep(0.3)
        plan = confirm(plan_of(days(1, 2)))
        wait_for(lambda: reread(plan, session).status == "applied", seconds=20)


def test_a_server_that_ends_gives_its_plans_to_others_at_once(session, monkeypatch):
    real, begun = clear_batch.clear_next_batch, threading.Event()

    def slow(plan, driver):
        real(plan, driver)
        begun.set()
        time.sleep(0.3)

    monkeypatch.setattr(steps, "clear_next_batch", slow)
    plan = confirm(plan_of(days(1, 4)))
    with running_driver():
        assert begun.wait(30)
    plan = reread(plan, session)
    assert plan.status == "applying"
    assert not driver_of(plan, session).is_working
    Driver().run_until_idle()
    assert clear_numbers(session) == [1, 1, 1, 1]


def test_the_thread_of_a_server_starts_and_ends_unless_drivers_run_elsewhere(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__DRIVER", "none")
    assert start_thread() is None
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__DRIVER", "api-server")
    plan = confirm(plan_of(days(1, 1)))
    thread = start_thread()
    try:
        wait_for(lambda: reread(plan, session).status == "applied")
    finally:
        thread.stop()
    assert not [one for one in threading.enumerate() if one.name == "safe-clear-driver"]


def test_a_moment_of_the_database_is_one_of_airflow(session):
    """In the type and the form in which columns hold moments, so that they compare."""
    before, here, after = session.execute(
        select(database_time(-60), database_time(), database_time(60))
    ).one()
    assert (after - here, here - before) == (MINUTE, MINUTE)
    assert abs(here - now()) < MINUTE
    assert session.scalar(select(database_time(-0.5) < database_time()))


def test_an_idle_driver_asks_one_question(session):
    from tests.support.statements import statements

    clear(days(1, 2))
    session.rollback()
    with statements(session) as sent:
        assert not Driver().run_once()
    assert len(sent) == 1


def test_an_undo_that_is_asked_for_as_the_driver_lets_the_plan_rest_is_done(session, monkeypatch):
    plan = clear(days(1, 2))
    real, late = steps._rest, [1]

    def asked_meanwhile(summary, driver):
        if late:
            late.pop()
            undo_plan(summary, ["run_2"], "", ME, now())
        return real(summary, driver)

    monkeypatch.setattr(steps, "_rest", asked_meanwhile)
    driver = Driver()
    session.execute(update(plan_table).values(next_step_at=now() - MINUTE, **leases.leased(driver.name)))
    session.commit()
    driver.run_until_idle()
    assert (late, reread(plan, session).undone_runs) == ([], 1)


def test_an_undo_that_no_driver_knows_of_begins_when_it_is_asked_for_again(session):
    plan = clear(days(1, 2))
    undo_plan(plan, ["run_2"], "", ME, now())
    session.execute(update(plan_table).values(next_step_at=None))
    session.commit()
    assert not Driver().run_once()
    undo_plan(reread(plan, session), ["run_2"], "", ME, now())
    Driver().run_until_idle()
    assert reread(plan, session).undone_runs == 1


def test_a_plan_that_cannot_be_read_keeps_no_other_from_its_end(session):
    bad, good = confirm(plan_of(days(1, 2))), confirm(plan_of(days(3, 4)))
    waves = {"stop_after_failed": 0.1, "first_runs": None, "then": None, "at_most_runs": None}
    later = {**waves, "order": "oldest", "not_before": None}
    session.execute(update(plan_table).where(plan_table.c.id == UUID(bad.id)).values(waves=later))
    session.commit()
    with running_driver():
        wait_for(lambda: reread(good, session).status == "applied")


def test_the_loop_lives_on_after_an_error_that_nobody_expected(session, monkeypatch):
    plan = confirm(plan_of(days(1, 2)))
    real, errors = leases.take_next, [1, 2]

    def broken(*args):
        if errors:
            raise LookupError(errors.pop())
        return real(*args)

    monkeypatch.setattr(leases, "take_next", broken)
    monkeypatch.setattr(loop, "LONGEST_BACK_OFF", 0.05)
    with running_driver():
        wait_for(lambda: reread(plan, session).status == "applied")


@pytest.mark.parametrize(("comes_of_it", "failures"), [(5.0, None), (steps.OutOfTurn(5.0), 2)])
def test_failures_count_in_a_row_only(comes_of_it, failures, session, monkeypatch):
    plan, driver = confirm(plan_of(days(1, 2))), Driver()
    driver._failed[UUID(plan.id)] = 2

    def take_step(*_):
        if isinstance(comes_of_it, Exception):
            raise comes_of_it
        return comes_of_it

    monkeypatch.setattr(steps, "take_step", take_step)
    assert driver.run_once()
    assert driver._failed.get(UUID(plan.id)) == failures


def test_a_step_that_another_driver_has_is_not_looked_for_all_the_time(session, monkeypatch):
    real, looks = leases.take_next, []
    monkeypatch.setattr(leases, "take_next", lambda *args: looks.append(1) or real(*args))
    with running_driver() as driver:
        driver._due[uuid4()] = time.monotonic()
        wake_up.wake_up()
        time.sleep(1)
    assert len(looks) <= 30
