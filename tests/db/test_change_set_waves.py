"""Waves over a change set: the runs of all its plans count together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.log import Log
from sqlalchemy import select

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.waves import Pace, RunOrder, Then, Waves
from safe_clear_plugin.services.change_sets import control
from safe_clear_plugin.services.change_sets.waves import change_set_waves, set_wave_progress
from safe_clear_plugin.services.clear import release
from safe_clear_plugin.services.clear.waves import NewWaves
from tests.db.acting import ME, OTHER, now
from tests.db.change_set_acting import (
    confirm,
    drive,
    end,
    fake_auth_manager,
    is_awake,
    look,
    reread,
    set_of,
    statuses,
    store_dags,
    undo,
)
from tests.support.webhook import configure, told

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]
DAGS = ("dag_a", "dag_b")
TASKS = ("extract", "transform", "load")


@pytest.fixture(autouse=True)
def dags(session, monkeypatch):
    fake_auth_manager(monkeypatch)
    monkeypatch.setattr(release, "LOOK_AGAIN", 0.0)
    store_dags(session, DAGS)


def paced(**waves):
    made = set_of(*DAGS)
    confirm(made, pace=Pace(Waves(**waves), is_chosen=True))
    return made


def cleared(made) -> list[int]:
    return [one.cleared_runs for one in reread(made).plans]


def waits(made):
    one = reread(made).waiting_plan
    return one and (one.dag_id, one.wave_reason.value)


def test_the_first_runs_are_counted_over_the_set_and_a_person_is_asked_once(session):
    made = paced(first_runs=3, then=Then.ASK)
    look(made, session)
    assert cleared(made) == [2, 1]
    for run in (("dag_a", "run_1"), ("dag_a", "run_2"), ("dag_b", "run_1")):
        assert waits(made) is None
        end(session, *run)
        look(made, session)
    assert waits(made) == ("dag_b", "first_done")
    assert cleared(made) == [2, 1]
    with pytest.raises(Refused) as refused:
        confirm(made, OTHER)
    assert refused.value.status == 409
    control.continue_change_set(reread(made), OTHER, now())
    look(made, session)
    assert statuses(reread(made)) == ["applied", "applied"]
    assert reread(made).plans[1].requested_by == OTHER.id


def test_a_failure_in_the_first_dag_keeps_the_next_from_beginning(session):
    made = paced(first_runs=1, then=Then.GO_ON)
    look(made, session)
    assert cleared(made) == [1, 0]
    end(session, "dag_a", "run_1", "failed")
    look(made, session)
    assert (waits(made), cleared(made)) == (("dag_a", "first_failed"), [1, 0])
    found = reread(made)
    with pytest.raises(Refused) as refused:
        control.continue_change_set(found, ME, now())
    assert (refused.value.status, refused.value.details["failed_runs"]) == (409, 1)
    control.continue_change_set(found, ME, now(), skip_failed=True)
    assert statuses(drive(made)) == ["applied", "applied"]


def test_failures_are_counted_over_the_set(session):
    made = paced(stop_after_failed=2, at_most_runs=1)
    look(made, session)
    assert cleared(made) == [1, 0]
    end(session, "dag_a", "run_1", "failed")
    look(made, session)
    assert cleared(made) == [2, 0]
    look(made, session)
    assert (waits(made), cleared(made)) == (None, [2, 0])
    end(session, "dag_a", "run_2", "failed")
    look(made, session)
    assert (waits(made), cleared(made)) == (("dag_b", "too_many_failed"), [2, 0])
    assert is_awake(session, reread(made)) == [False, False]
    progress = set_wave_progress(reread(made), session)
    assert (progress.counts.failed, progress.counts.untouched) == (2, 2)
    control.continue_change_set(reread(made), ME, now(), skip_failed=True)
    look(made, session)
    assert cleared(made) == [2, 1]


def test_runs_that_are_unfinished_are_counted_over_the_set(session):
    made = paced(at_most_runs=3, order=RunOrder.NEWEST)
    look(made, session)
    assert cleared(made) == [2, 1]
    end(session, "dag_a", "run_1")
    look(made, session)
    assert cleared(made) == [2, 2]
    assert statuses(reread(made)) == ["applied", "applied"]


def test_an_undo_of_one_plan_does_not_wake_a_set_that_waits_for_a_person(session):
    made = paced(first_runs=2, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    end(session, "dag_a", "run_2")
    look(made, session)
    assert (waits(made), cleared(made)) == (("dag_b", "first_done"), [2, 0])
    undo(reread(made), {"dag_a": ()})
    look(made, session)
    assert reread(made).plans[0].status == "undone"
    assert (waits(made), cleared(made)) == (("dag_b", "first_done"), [2, 0])
    stopped = control.stop_change_set(reread(made), ME, now())
    assert statuses(stopped) == ["undone", "stopped"]


def test_an_undo_of_a_set_that_waits_stops_it(session):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    look(made, session)
    assert waits(made)
    undo(reread(made))
    assert statuses(drive(made)) == ["undone", "stopped"]
    assert reread(made).shown_status(now()) == "undone"


def test_one_that_stopped_while_it_waited_waits_again(session, monkeypatch):
    configure(monkeypatch, "https://hooks.example")
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    look(made, session)
    control.stop_change_set(reread(made), ME, now())
    control.continue_change_set(reread(made), ME, now())
    look(made, session)
    assert (waits(made), cleared(made)) == (("dag_a", "first_done"), [1, 0])
    control.continue_change_set(reread(made), ME, now())
    assert statuses(drive(made)) == ["applied", "applied"]
    assert [event for event, _ in told(session)] == [
        "started",
        "waiting",
        "stopped",
        "resumed",
        "waiting",
        "resumed",
        "done",
    ]


def test_other_waves_sent_again_are_refused(session):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    with pytest.raises(Refused) as refused:
        confirm(reread(made), pace=Pace(Waves(at_most_runs=1), is_chosen=True))
    assert refused.value.status == 409
    assert confirm(reread(made), pace=Pace(Waves(first_runs=1, then=Then.ASK), is_chosen=True)).is_applying


def change(made, waves, actor=ME, **options):
    return change_set_waves(reread(made), NewWaves(waves), actor, now(), **options)


def test_waves_are_changed_while_it_waits_for_runs(session):
    made = paced(at_most_runs=1)
    look(made, session)
    assert cleared(made) == [1, 0]
    change(made, Waves(at_most_runs=3))
    look(made, session)
    assert cleared(made) == [2, 1]
    assert [one.waves.at_most_runs for one in reread(made).plans] == [3, 3]
    change(made, None)
    look(made, session)
    assert statuses(reread(made)) == ["applied", "applied"]
    with pytest.raises(Refused) as refused:
        change(made, None)
    assert refused.value.status == 409
    assert refused.value.details == {"status": "applied"}


def test_what_is_scheduled_begins_earlier_or_later(session):
    tomorrow = now() + timedelta(days=1)
    made = paced(not_before=tomorrow)
    look(made, session)
    assert cleared(made) == [0, 0]
    change(made, Waves(not_before=tomorrow + timedelta(days=1)))
    look(made, session)
    assert (cleared(made), reread(made).plans[0].wave_state) == ([0, 0], "scheduled")
    with pytest.raises(Refused) as refused:
        change(made, Waves(not_before=now() - timedelta(days=1)))
    assert refused.value.status == 422
    change(made, Waves(first_runs=1, then=Then.ASK))
    look(made, session)
    assert cleared(made) == [1, 0]


@pytest.mark.parametrize("waves", [None, Waves(at_most_runs=5)])
def test_changing_the_waves_goes_over_no_person(session, waves):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    look(made, session)
    change(made, waves)
    look(made, session)
    assert (waits(made), cleared(made)) == (("dag_a", "first_done"), [1, 0])
    control.continue_change_set(reread(made), ME, now())
    assert statuses(drive(made)) == ["applied", "applied"]


def test_one_can_go_on_in_other_waves(session):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    look(made, session)
    more = NewWaves(Waves(first_runs=3, then=Then.ASK))
    control.continue_change_set(reread(made), OTHER, now(), change=more)
    look(made, session)
    assert cleared(made) == [2, 1]
    for run in (("dag_a", "run_2"), ("dag_b", "run_1")):
        assert waits(made) is None
        end(session, *run)
        look(made, session)
    assert waits(made) == ("dag_b", "first_done")
    control.continue_change_set(reread(made), OTHER, now(), change=NewWaves(None))
    look(made, session)
    assert statuses(reread(made)) == ["applied", "applied"]


def test_a_stopped_set_goes_on_in_other_waves(session):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    end(session, "dag_a", "run_1")
    look(made, session)
    control.stop_change_set(reread(made), ME, now())
    with pytest.raises(Refused):
        change(made, Waves(at_most_runs=1))
    control.continue_change_set(reread(made), ME, now(), change=NewWaves(Waves(at_most_runs=2)))
    look(made, session)
    assert (waits(made), cleared(made)) == (None, [2, 1])


def test_changing_is_in_the_audit_log(session):
    made = paced(first_runs=1, then=Then.ASK)
    look(made, session)
    change(made, Waves(first_runs=1, then=Then.ASK, at_most_runs=2), OTHER, reason="slow")
    end(session, "dag_a", "run_1")
    look(made, session)
    control.continue_change_set(reread(made), OTHER, now(), change=NewWaves(Waves(at_most_runs=1)))
    found = session.scalars(
        select(Log).where(Log.event.in_(("safe_clear_waves", "safe_clear_continue"))).order_by(Log.id)
    ).all()
    assert [(row.event, row.owner, row.dag_id) for row in found] == [
        ("safe_clear_waves", OTHER.name, "dag_a"),
        ("safe_clear_continue", OTHER.name, "dag_a"),
    ]
    assert all("at_most_runs" in row.extra and made.id in row.extra for row in found)
    assert "slow" in found[0].extra
