"""The undo of a change set: exactly the runs of its preview, plan by plan."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.waves import Pace, Then, Waves
from safe_clear_plugin.services.change_sets import control
from safe_clear_plugin.services.change_sets.undo import preview_set_undo, undo_change_set
from safe_clear_plugin.services.clear import release
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.tables import plan
from tests.db.acting import ME, OTHER, now
from tests.db.change_set_acting import (
    DAGS,
    clear,
    confirm,
    drive,
    drive_step,
    end,
    fake_auth_manager,
    is_awake,
    look,
    refused,
    reread,
    set_of,
    statuses,
    store_dags,
    undo,
)

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def dags(session, monkeypatch):
    fake_auth_manager(monkeypatch)
    store_dags(session)


def seen_of(of) -> dict[str, int]:
    """Return the numbers of cleared runs that the undo's preview shows."""
    return {one.dag_id: one.cleared_runs for one in of.plans if one.cleared_runs}


def undo_seen(of, seen, *dag_ids: str):
    return undo_change_set(of, dict.fromkeys(dag_ids, ()), "", ME, now(), seen=seen)


@pytest.fixture
def stopped(monkeypatch):
    """A set that was stopped after its first run."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    return control.stop_change_set(reread(made), ME, now())


def test_what_was_cleared_after_the_preview_of_an_undo_is_not_undone(stopped):
    seen = seen_of(stopped)
    control.continue_change_set(stopped, OTHER, now())
    found = drive(stopped)
    error = refused(undo_seen, found, seen, "dag_a")
    assert error.status == 409
    assert "dag_a" in error.problem.reason
    assert error.details["dags"] == [{"dag_id": "dag_a", "cleared_runs": 2}]
    assert not reread(stopped).is_undoing
    assert undo_seen(found, seen_of(found), "dag_a").is_undoing


def test_a_dag_that_was_cleared_after_the_preview_of_a_whole_undo_refuses_it(stopped):
    seen = {**seen_of(stopped), "dag_a": 2}
    control.continue_change_set(stopped, OTHER, now())
    found = drive(stopped)
    error = refused(undo_seen, found, seen)
    assert (error.status, error.details["dags"][0]["dag_id"]) == (409, "dag_c")
    assert not reread(stopped).is_undoing
    assert refused(undo_seen, found, {"dag_x": 1}).status == 422
    assert undo_seen(found, seen_of(found)).is_undoing


@pytest.fixture
def waiting(session, monkeypatch):
    """A set that waits for a person once it has cleared the first run of its second Dag."""
    monkeypatch.setattr(release, "LOOK_AGAIN", 0.0)
    made = set_of(*DAGS)
    confirm(made, pace=Pace(Waves(first_runs=3, then=Then.ASK), is_chosen=True))
    look(made, session)
    for one in (("dag_a", "run_1"), ("dag_a", "run_2"), ("dag_b", "run_1")):
        end(session, *one)
    found = look(made, session)
    assert found.waiting_plan
    assert seen_of(found) == {"dag_a": 2, "dag_b": 1}
    return found


def test_a_set_that_waits_is_undone_dag_by_dag_as_its_page_asks(waiting, session):
    undo_seen(waiting, seen_of(waiting), "dag_a", "dag_b")
    found = drive(waiting)
    assert statuses(found) == ["undone", "undone", "stopped"]
    assert refused(control.continue_change_set, found, ME, now()).status == 409


def test_dags_before_the_one_that_waits_are_undone_while_it_does(waiting):
    undo(waiting, {"dag_a": ()})
    assert statuses(reread(waiting)) == ["applied", "applying", "applying"]
    assert reread(waiting).waiting_plan


def test_an_undo_that_is_refused_leaves_a_set_waiting(waiting):
    assert refused(undo, waiting, {"dag_b": (), "dag_c": ()}).status == 409
    assert reread(waiting).waiting_plan


def test_an_undo_of_a_whole_set_that_is_refused_leaves_it_waiting(waiting, session):
    session.execute(plan.update().values(airflow_version="3.1.0"))
    session.commit()
    found = reread(waiting)
    problem = preview_set_undo(found, (), now()).problem
    assert problem
    assert refused(undo, found).problem.reason == problem.reason
    assert reread(waiting).waiting_plan


def test_the_preview_of_an_undo_that_ends_the_wait_has_no_problem(waiting):
    assert preview_set_undo(waiting, (), now()).problem is None


def test_a_set_that_goes_on_in_between_is_not_stopped_by_an_undo(waiting):
    control.continue_change_set(waiting, OTHER, now())
    assert refused(undo, waiting, {"dag_b": ()}).status == 409
    assert refused(undo, waiting).status == 409
    found = reread(waiting)
    assert statuses(found) == ["applied", "applying", "applying"]
    assert not found.is_undoing


def test_the_undo_of_one_plan_that_is_stopped_gives_its_turn_on(session):
    made = clear(set_of(*DAGS))
    undo_plan(made.plans[0], (), "", ME, now())
    undo(reread(made), {"dag_b": (), "dag_c": ()})
    assert is_awake(session, made) == [True, False, False]
    stop_plan(reread(made).plans[0], ME, now())
    assert is_awake(session, made) == [False, False, True]
    assert statuses(drive(made)) == ["applied", "undone", "undone"]


def test_a_plan_that_waits_and_is_asked_for_more_runs_goes_on_waiting(session):
    made = clear(set_of(*DAGS))
    undo(made, {"dag_a": ("run_1",), "dag_c": ()})
    assert is_awake(session, made) == [False, False, True]
    undo(reread(made), {"dag_a": ("run_2",)})
    assert is_awake(session, made) == [False, False, True]
    undo_plan(reread(made).plans[0], (), "", ME, now())
    undo_plan(reread(made).plans[1], (), "", ME, now())
    assert is_awake(session, made) == [False, False, True]
    assert drive(made).shown_status(now()) == "undone"


def test_a_plan_whose_undo_ended_since_somebody_looked_waits_for_its_turn(session):
    made = clear(set_of(*DAGS))
    undo(made, {"dag_a": ("run_1",)})
    seen = reread(made)
    drive(made)
    undo(reread(made), {"dag_c": ()})
    undo(seen, {"dag_a": ("run_2",)})
    assert is_awake(session, made) == [False, False, True]
    assert statuses(drive(made)) == ["undone", "applied", "undone"]


def test_a_run_that_was_not_cleared_refuses_the_undo_and_is_named(session):
    made = clear(set_of("dag_a", "dag_b"))
    error = refused(undo, made, {"dag_a": ("run_1", "no_such_run"), "dag_b": ()})
    assert error.status == 409
    assert "no_such_run" in error.problem.reason
    assert "run_1" not in error.problem.reason
    assert error.details["dags"] == [{"dag_id": "dag_a", "run_ids": ["no_such_run"]}]
    assert not reread(made).is_undoing
    error = refused(undo_plan, made.plans[0], ("run_2", "no_such_run"), "", ME, now())
    assert error.details == {"run_ids": ["no_such_run"]}
    assert not reread(made).is_undoing


def test_runs_that_were_asked_for_before_can_be_named_again(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    made = clear(set_of("dag_a", "dag_b"))
    both = {"dag_a": ("run_1", "run_2")}
    undo(made, both)
    undo(reread(made), both)
    drive_step(made)
    found = undo(reread(made), both)
    assert [one.undo_asked_runs for one in found.plans] == [2, 0]
    assert statuses(drive(made)) == ["undone", "applied"]
