"""A clear in waves: what the driver clears, what it waits for, and who goes on."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from sqlalchemy import select, update

from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.waves import Pace, RunOrder, Then, WaveReason, Waves, WaveState
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.clear import release, waves
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.wave_choice import default_waves
from safe_clear_plugin.services.clear.waves import NewWaves, change_waves, continue_plan
from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.acting import ME, OTHER, confirm, days, now, plan_of
from tests.db.undo_oracle import everything
from tests.support.driving import drive, driver, end_pause
from tests.support.factories import set_states
from tests.support.scenes import FAILED_RUN, START, store_etl
from tests.support.snapshots import diff_snapshots
from tests.support.webhook import configure, messages

pytestmark = pytest.mark.backend

ALL_GOOD = dict.fromkeys(("extract", "transform", "load"), "success")
RUNS = 6


@pytest.fixture(autouse=True)
def _history(session):
    store_etl(session, runs=RUNS)


def paced(**settings):
    """Confirm a plan of all runs, to be cleared in waves."""
    return confirm(plan_of(days(1, RUNS)), pace=Pace(Waves(**settings), is_chosen=True))


def looks(plan, session):
    """Let a driver do all that there is to do now, and return the plan."""
    at_rest = False
    while not at_rest:
        end_pause()
        session.execute(
            update(plan_table)
            .where(plan_table.c.id == UUID(plan.id), plan_table.c.next_step_at.is_not(None))
            .values(next_step_at=START)
        )
        session.commit()
        before = get_plan(plan.id)
        driver().run_once(UUID(plan.id))
        plan = get_plan(plan.id)
        at_rest = plan.cleared_runs == before.cleared_runs or plan.status != "applying"
    return plan


def cleared(plan, session):
    """Return the days of the runs that the plan has cleared."""
    session.rollback()
    runs = [run for run in plan_reader.runs(UUID(plan.id), session) if run.applied_at]
    session.rollback()
    return sorted(run.logical_date.day for run in runs)


def ends(session, day, states=None, run_state="success"):
    """Let a run end."""
    run = session.scalars(select(DagRun).where(DagRun.run_id == f"run_{day}")).one()
    set_states(run, states or ALL_GOOD, session=session)
    session.execute(update(DagRun).where(DagRun.run_id == f"run_{day}").values(state=run_state))
    session.commit()


def fails(session, day):
    ends(session, day, FAILED_RUN, "failed")


def waits(plan):
    return plan.wave_state, plan.wave_reason


def test_a_canary_is_cleared_alone_and_then_a_person_is_asked(session):
    before = everything(session)
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    assert cleared(plan, session) == [1]
    assert waits(plan) == (WaveState.WAITING_FOR_RUNS, None)
    ends(session, 1)
    plan = looks(plan, session)
    assert waits(plan) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_DONE)
    assert not driver().run_once(UUID(plan.id)), "nothing is due until somebody decides"
    changed = diff_snapshots(before, everything(session))
    assert changed
    assert "run_2" not in str(changed)
    plan = looks(continue_plan(plan, OTHER, now()), session)
    assert (plan.status, cleared(plan, session)) == ("applied", [1, 2, 3, 4, 5, 6])
    assert (plan.applied_by_name, plan.requester) == (ME.name, OTHER)


def test_a_canary_that_succeeds_goes_on_by_itself(session):
    plan = looks(paced(first_runs=2, then=Then.GO_ON), session)
    ends(session, 1)
    assert cleared(looks(plan, session), session) == [1, 2]
    ends(session, 2)
    assert looks(plan, session).status == "applied"


@pytest.mark.parametrize("then", Then)
def test_a_canary_that_fails_leaves_the_others_untouched_row_for_row(session, then):
    plan = looks(paced(first_runs=1, then=then), session)
    before = everything(session)
    fails(session, 1)
    after = everything(session)
    plan = looks(plan, session)
    assert waits(plan) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_FAILED)
    assert diff_snapshots(after, everything(session)) == {}
    assert diff_snapshots(before, after) != {}
    assert cleared(plan, session) == [1]


def test_at_most_so_many_runs_are_unfinished(session):
    plan = looks(paced(at_most_runs=2), session)
    for day in range(1, RUNS):
        assert cleared(plan, session) == list(range(1, min(day + 1, RUNS) + 1))
        if plan.status == "applying":
            assert waits(plan) == (WaveState.WAITING_FOR_RUNS, None)
        ends(session, day)
        plan = looks(plan, session)
    assert plan.status == "applied"


def test_so_many_failures_ask_a_person_and_the_rest_stays(session):
    plan = looks(paced(at_most_runs=1, stop_after_failed=2), session)
    fails(session, 1)
    plan = looks(plan, session)
    fails(session, 2)
    plan = looks(plan, session)
    assert waits(plan) == (WaveState.WAITING_FOR_PERSON, WaveReason.TOO_MANY_FAILED)
    assert cleared(plan, session) == [1, 2]


def test_the_newest_runs_come_first_if_they_shall(session):
    plan = looks(paced(at_most_runs=2, order=RunOrder.NEWEST), session)
    assert cleared(plan, session) == [5, 6]
    ends(session, 6)
    assert cleared(looks(plan, session), session) == [4, 5, 6]


def test_a_batch_is_never_larger_than_its_wave_and_never_splits_a_run(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    plan = looks(paced(at_most_runs=3), session)
    assert (plan.batches, plan.cleared_runs, plan.cleared) == (3, 3, 3 * (plan.task_instances // RUNS))


def test_nothing_is_cleared_before_its_time(session):
    later = now() + timedelta(hours=2)
    plan = paced(not_before=later)
    assert plan.wave_state is WaveState.SCHEDULED
    plan = looks(plan, session)
    assert (plan.wave_state, plan.cleared_runs) == (WaveState.SCHEDULED, 0)
    due = session.scalar(select(plan_table.c.next_step_at).where(plan_table.c.id == UUID(plan.id)))
    assert abs(due - later) < timedelta(seconds=30)
    assert plan.shown_status(now()) is ShownStatus.APPLYING


@pytest.mark.parametrize("skew", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_clear_is_due_by_the_clock_of_the_database(session, skew):
    later, due = paced(not_before=now() + timedelta(hours=2)), paced(not_before=now())
    session.execute(update(plan_table).values(next_step_at=START))
    session.commit()
    with time_machine.travel(now() + skew):
        Driver().run_once()
        Driver().run_once()
    assert get_plan(later.id).cleared_runs == 0
    assert get_plan(due.id).cleared_runs > 0


def test_a_time_that_is_over_is_refused(session):
    with pytest.raises(Refused) as refused:
        paced(not_before=now() - timedelta(hours=1))
    assert refused.value.status == 422
    assert get_plan_status(session) == "ready"


def get_plan_status(session):
    session.rollback()
    return session.scalar(select(plan_table.c.status))


def test_going_on_over_failures_takes_a_word(session):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    fails(session, 1)
    plan = looks(plan, session)
    with pytest.raises(Refused) as refused:
        continue_plan(plan, ME, now())
    assert (refused.value.status, refused.value.details) == (409, {"failed_runs": 1})
    assert waits(get_plan(plan.id)) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_FAILED)
    plan = looks(continue_plan(plan, ME, now(), skip_failed=True), session)
    assert plan.status == "applied"


def test_a_failed_run_that_was_cleared_again_and_succeeded_is_no_failure(session):
    plan = looks(paced(first_runs=1, then=Then.GO_ON), session)
    fails(session, 1)
    plan = looks(plan, session)
    ends(session, 1)
    assert looks(continue_plan(plan, ME, now()), session).status == "applied"


def test_failures_that_somebody_went_on_without_do_not_stop_it_again(session):
    plan = looks(paced(at_most_runs=1, stop_after_failed=1), session)
    fails(session, 1)
    plan = looks(continue_plan(looks(plan, session), ME, now(), skip_failed=True), session)
    assert cleared(plan, session) == [1, 2]
    fails(session, 2)
    assert waits(looks(plan, session)) == (WaveState.WAITING_FOR_PERSON, WaveReason.TOO_MANY_FAILED)


def test_going_on_without_the_first_failure_still_waits_for_the_other_first_runs(session):
    plan = looks(paced(first_runs=2, then=Then.GO_ON), session)
    fails(session, 1)
    plan = looks(continue_plan(looks(plan, session), ME, now(), skip_failed=True), session)
    assert (cleared(plan, session), plan.wave_state) == ([1, 2], WaveState.WAITING_FOR_RUNS)
    ends(session, 2)
    assert looks(plan, session).status == "applied"


def test_one_can_go_on_in_other_waves(session):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    ends(session, 1)
    plan = looks(plan, session)
    change = NewWaves(Waves(first_runs=3, then=Then.ASK))
    plan = looks(continue_plan(plan, ME, now(), change=change), session)
    assert (cleared(plan, session), plan.wave_state) == ([1, 2, 3], WaveState.WAITING_FOR_RUNS)
    for day in (2, 3):
        ends(session, day)
    plan = looks(plan, session)
    assert waits(plan) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_DONE)
    assert looks(continue_plan(plan, ME, now(), change=NewWaves(None)), session).status == "applied"


def test_a_plan_that_does_not_wait_for_a_person_cannot_be_gone_on_with(session):
    ready = plan_of(days(1, 1))
    under_way = looks(paced(at_most_runs=1), session)
    for plan in (ready, under_way, stop_plan(under_way, ME, now())):
        with pytest.raises(Refused) as refused:
            continue_plan(plan, ME, now())
        assert refused.value.status == 409


def test_waves_are_changed_while_it_waits(session):
    plan = looks(paced(at_most_runs=1), session)
    plan = looks(change_waves(plan, NewWaves(Waves(at_most_runs=3)), ME, now()), session)
    assert cleared(plan, session) == [1, 2, 3]
    plan = looks(change_waves(plan, NewWaves(None), ME, now()), session)
    assert plan.status == "applied"
    with pytest.raises(Refused) as refused:
        change_waves(plan, NewWaves(None), ME, now())
    assert refused.value.status == 409


@pytest.mark.parametrize("change", [None, Waves(at_most_runs=5)])
def test_changing_the_waves_goes_over_no_person(session, change):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    ends(session, 1)
    plan = change_waves(looks(plan, session), NewWaves(change), ME, now())
    assert waits(looks(plan, session)) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_DONE)
    taken_over = confirm(get_plan(plan.id), OTHER, resume=True, pace=Pace(change, is_chosen=True))
    assert waits(looks(taken_over, session)) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_DONE)
    with pytest.raises(Refused) as refused:
        confirm(taken_over, OTHER, resume=True, pace=Pace(Waves(at_most_runs=9), is_chosen=True))
    assert refused.value.status == 409
    assert cleared(plan, session) == [1]


def test_a_clear_that_is_stopped_and_resumed_keeps_its_waves(session):
    plan = looks(paced(at_most_runs=2), session)
    plan = stop_plan(plan, ME, now())
    ends(session, 1)
    assert cleared(looks(plan, session), session) == [1, 2]
    plan = looks(confirm(get_plan(plan.id), resume=True), session)
    assert (cleared(plan, session), plan.wave_state) == ([1, 2, 3], WaveState.WAITING_FOR_RUNS)


def test_a_confirmation_sent_again_is_the_same_and_with_other_waves_refused(session):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    same = Pace(Waves(first_runs=1, then=Then.ASK), is_chosen=True)
    assert confirm(get_plan(plan.id), pace=same).waves == same.waves
    assert confirm(get_plan(plan.id)).waves == same.waves
    with pytest.raises(Refused) as refused:
        confirm(get_plan(plan.id), pace=Pace(None, is_chosen=True))
    assert refused.value.status == 409
    assert cleared(looks(plan, session), session) == [1]


def age(session, plan, days_ago):
    long_ago = now() - timedelta(days=days_ago)
    session.execute(update(plan_table).values(last_step_at=long_ago))
    session.commit()
    assert get_plan(plan.id).last_step_at == long_ago


def test_what_is_not_to_begin_yet_is_never_too_old(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "1")
    plan = looks(paced(not_before=now() + timedelta(days=3)), session)
    age(session, plan, 2)
    retention.clean_up(now())
    assert len(plan_reader.runs(UUID(plan.id), session)) == RUNS


def test_what_waited_for_a_person_until_it_is_too_old_cannot_go_on(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "1")
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    ends(session, 1)
    plan = looks(plan, session)
    age(session, plan, 2)
    with pytest.raises(Refused) as refused:
        continue_plan(plan, ME, now())
    assert (refused.value.status, cleared(plan, session)) == (409, [1])


def test_who_undoes_what_waits_for_a_person_stops_it(session):
    before = everything(session)
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    session.execute(update(plan_table).values(wave_state="waiting_for_person"))
    session.commit()
    plan = get_plan(plan.id)
    assert preview_undo(plan, now()).problem is None
    plan = drive(undo_plan(plan, (), "wrong", ME, now()).id)
    assert (plan.undone_runs, plan.status) == (1, "undone")
    assert diff_snapshots(before, everything(session)) == {}


def test_the_rest_of_a_plan_in_waves_is_what_no_wave_has_reached(session):
    plan = stop_plan(looks(paced(first_runs=2, then=Then.ASK), session), ME, now())
    rest = plan_remaining(plan, ME, now())
    assert (rest.dag_runs, rest.waves) == (RUNS - 2, None)


def test_two_drivers_never_clear_more_than_a_wave(session):
    plan = paced(at_most_runs=2)
    late = Driver()
    session.execute(update(plan_table).values(lease_owner=late.name, leased_until=now()))
    session.commit()
    assert release.look(get_plan(plan.id), late.name).may_clear
    looks(plan, session)
    from safe_clear_plugin.services.clear.clear_batch import clear_next_batch

    clear_next_batch(get_plan(plan.id), late.name)
    assert cleared(plan, session) == [1, 2], "the lease went to the other driver"
    session.execute(update(plan_table).values(lease_owner=late.name))
    session.commit()
    with pytest.raises(release.NotYet):
        clear_next_batch(get_plan(plan.id), late.name)
    assert cleared(plan, session) == [1, 2], "what the other cleared counts"


def test_the_default_is_a_canary_above_the_size_that_is_configured(monkeypatch):
    plan = plan_of(days(1, RUNS))
    assert default_waves(plan) is None
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", str(plan.task_instances))
    assert default_waves(plan) is None
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", str(plan.task_instances - 1))
    assert default_waves(plan) == Waves(first_runs=1, then=Then.ASK)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", "1")
    assert default_waves(plan_of(days(1, 1))) is None


def test_going_on_and_changing_are_in_the_audit_log(session):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    change_waves(
        plan, NewWaves(Waves(first_runs=1, then=Then.ASK, at_most_runs=2)), OTHER, now(), reason="slow"
    )
    ends(session, 1)
    continue_plan(looks(plan, session), OTHER, now(), reason="fine")
    found = session.scalars(select(Log).where(Log.event.like("safe_clear_%")).order_by(Log.id)).all()
    assert [(row.event, row.owner) for row in found] == [
        ("safe_clear_waves", OTHER.name),
        ("safe_clear_continue", OTHER.name),
    ]
    assert "first_done" in found[-1].extra
    assert "at_most_runs" in found[0].extra


def test_progress_names_what_failed(session):
    plan = looks(paced(at_most_runs=2), session)
    fails(session, 2)
    plan = looks(plan, session)
    found = waves.wave_progress(plan, session, named=True)
    assert (found.counts.failed, found.counts.running_again, found.counts.untouched) == (1, 2, RUNS - 3)
    assert [(run.run_id, run.task_ids) for run in found.failed] == [("run_2", ("transform",))]
    assert waves.wave_progress(plan_of(days(5, 6)), session) is None


def test_waiting_for_a_person_and_going_on_are_told_once_each(session, monkeypatch):
    configure(monkeypatch, "https://hooks.example")
    plan = paced(first_runs=1, then=Then.GO_ON)
    plan = looks(plan, session)
    ends(session, 1, FAILED_RUN, "failed")
    for _ in range(2):
        plan = looks(plan, session)
    plan = change_waves(plan, NewWaves(Waves(first_runs=2, then=Then.ASK)), ME, now())
    plan = looks(plan, session)
    continue_plan(plan, OTHER, now(), skip_failed=True)
    found = [json.loads(row.body) for row in messages(session)]
    assert [(one["event"], one["by"], one["waits_because"]) for one in found] == [
        ("started", "Me", None),
        ("waiting", "", "first_failed"),
        ("resumed", "Somebody else", None),
    ]
    assert found[1]["counts"]["cleared_dag_runs"] == 1


def test_what_waits_again_after_a_resume_is_told_again(session, monkeypatch):
    configure(monkeypatch, "https://hooks.example")
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    ends(session, 1)
    plan = stop_plan(looks(plan, session), ME, now())
    plan = confirm(plan, resume=True)
    assert waits(plan) == (WaveState.WAITING_FOR_PERSON, WaveReason.FIRST_DONE)
    events = [json.loads(row.body)["event"] for row in messages(session)]
    assert events == ["started", "waiting", "stopped", "resumed", "waiting"]


def test_an_undo_of_a_plan_that_somebody_continued_stops_nothing(session):
    plan = looks(paced(first_runs=1, then=Then.ASK), session)
    ends(session, 1)
    seen = looks(plan, session)
    assert seen.is_waiting_for_person
    continue_plan(seen, OTHER, now())
    with pytest.raises(Refused):
        undo_plan(seen, (), "wrong", ME, now(), seen_runs=1)
    assert get_plan(plan.id).status == "applying"


def test_an_undo_begins_with_the_runs_that_were_cleared_last(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    plan = drive(paced(at_most_runs=RUNS, order=RunOrder.NEWEST).id)
    plan = drive(undo_plan(plan, (), "wrong", ME, now()).id)
    session.rollback()
    runs = plan_reader.runs(UUID(plan.id), session)
    by_batch = sorted(runs, key=lambda run: run.undo_batch)
    assert [run.logical_date.day for run in by_batch] == list(range(1, RUNS + 1))
