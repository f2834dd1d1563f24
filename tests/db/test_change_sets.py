"""Change sets: plans of several DAGs that are confirmed, driven and undone together."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, update

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import SetConfirmation
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.waves import Pace
from safe_clear_plugin.services.change_sets import approval, control
from safe_clear_plugin.services.change_sets.stored import clearable_change_set, readable_change_set
from safe_clear_plugin.services.clear.apply import apply_plan, stop_plan
from safe_clear_plugin.services.clear.approval import decline_plan, request_approval
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.planning.drafts import discard_draft
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.retention import clean_up
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.clear import drift
from safe_clear_plugin.storage.tables import change_set, plan
from tests.db import acting
from tests.db.acting import ME, OTHER, now
from tests.db.change_set_acting import (
    DAGS,
    acknowledging,
    clear,
    confirm,
    days,
    drive,
    drive_step,
    fake_auth_manager,
    is_awake,
    move,
    refused,
    reread,
    set_of,
    statuses,
    store_dags,
    undo,
)
from tests.db.undo_oracle import everything
from tests.support.scenes import START
from tests.support.snapshots import diff_snapshots

pytestmark = pytest.mark.backend
PER_DAG = 6


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


@pytest.fixture(autouse=True)
def dags(session):
    store_dags(session)


@pytest.fixture
def options(monkeypatch):
    """Return a function that sets options of the section ``[safe_clear]``."""

    def set_options(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name.upper()}", str(value))

    return set_options


def of_dags(tables, *dag_ids: str):
    """Return the rows of some DAGs."""
    return {name: [row for row in rows if row.get("dag_id") in dag_ids] for name, rows in tables.items()}


def audited(session, event: str) -> list[str]:
    session.rollback()
    return sorted(session.scalars(select(Log.dag_id).where(Log.event == event)))


@pytest.mark.airflow32
def test_a_set_is_cleared_one_dag_after_the_other_and_undone_in_reverse(session):
    before = everything(session)
    made = set_of(*reversed(DAGS))
    assert made.dag_ids == DAGS
    assert made.shown_status(now()) == "ready"
    assert (made.task_instances, made.dag_runs) == (3 * PER_DAG, 6)
    applied = confirm(made)
    assert statuses(applied) == ["applying"] * 3
    assert is_awake(session, applied) == [True, False, False]
    found = drive_step(made)
    assert statuses(found) == ["applied", "applying", "applying"]
    assert is_awake(session, found) == [False, True, False]
    found = drive(made)
    assert statuses(found) == ["applied"] * 3
    assert found.shown_status(now()) == "applied"
    asked = undo(found)
    assert is_awake(session, asked) == [False, False, True]
    found = drive_step(made)
    assert statuses(found) == ["applied", "applied", "undone"]
    assert is_awake(session, found) == [False, True, False]
    assert drive(made).shown_status(now()) == "undone"
    assert diff_snapshots(before, everything(session)) == {}


def test_sent_again_a_confirmation_and_an_undo_change_nothing(session):
    made = set_of(*DAGS)
    given = acknowledging(made)
    confirm(made, given=given)
    drive_step(made)
    again = confirm(reread(made), given=given)
    assert statuses(again) == ["applied", "applying", "applying"]
    assert is_awake(session, again) == [False, True, False]
    found = drive(made)
    assert statuses(confirm(found, given=given)) == ["applied"] * 3
    undo(found)
    undo(reread(made))
    assert is_awake(session, made) == [False, False, True]
    drive_step(made)
    assert is_awake(session, undo(reread(made))) == [False, True, False]
    assert drive(made).shown_status(now()) == "undone"
    assert "nothing to undo" in str(refused(undo, reread(made))) or "already been undone" in str(
        refused(undo, reread(made))
    )


@pytest.mark.airflow32
def test_if_one_plan_is_stale_at_the_confirm_nothing_is_claimed_or_cleared(session):
    made = set_of(*DAGS)
    move(session, "dag_c")
    before = everything(session)
    error = refused(confirm, made)
    assert error.status == 409
    assert "dag_c" in error.problem.reason
    assert [one["dag_id"] for one in error.details["dags"]] == ["dag_c"]
    assert error.details["dags"][0]["drift"][0]["run_id"] == "run_1"
    found = reread(made)
    assert statuses(found) == ["ready", "ready", "stale"]
    assert found.shown_status(now()) == "stale"
    assert found.applied_by is None
    assert is_awake(session, found) == [False] * 3
    assert diff_snapshots(before, everything(session)) == {}
    again = refused(confirm, found)
    assert (again.status, again.details["dags"][0]["dag_id"]) == (409, "dag_c")


def test_all_plans_that_are_stale_are_named(session):
    made = set_of(*DAGS)
    move(session, "dag_a")
    move(session, "dag_c")
    error = refused(confirm, made)
    assert [one["dag_id"] for one in error.details["dags"]] == ["dag_a", "dag_c"]
    assert "2 Dags" in error.problem.reason
    assert statuses(reread(made)) == ["stale", "ready", "stale"]


def test_an_expired_set_is_not_cleared(session):
    made = set_of(*DAGS)
    session.execute(update(plan).values(expires_at=START))
    session.commit()
    found = reread(made)
    assert found.shown_status(now()) == "expired"
    assert refused(confirm, found).status == 410
    # A set that expires between the preview and the claim.
    assert refused(confirm, made).status == 410
    assert statuses(reread(made)) == ["ready"] * 3


def test_a_set_that_lost_a_plan_is_not_cleared(session):
    made = set_of(*DAGS)
    session.execute(plan.delete().where(plan.c.id == UUID(made.plans[1].id)))
    session.commit()
    assert refused(confirm, reread(made)).status == 409
    assert statuses(reread(made)) == ["ready"] * 2


def test_another_fingerprint_is_refused():
    made = set_of(*DAGS)
    error = refused(confirm, replace(made, fingerprint="0" * 64))
    assert error.status == 409
    assert statuses(reread(made)) == ["ready"] * 3


def test_permission_that_is_lost_for_one_refuses_all(rights):
    made = set_of(*DAGS)
    rights.not_to_clear = {"dag_b"}
    error = refused(clearable_change_set, made.id, None, outcome="Nothing was cleared.")
    assert error.status == 403
    assert error.problem.reason.startswith("You can see dag_b, but")
    assert error.problem.remedy.startswith("Nothing was cleared.")
    assert [one["dag_id"] for one in error.details["dags"]] == ["dag_b"]
    assert clearable_change_set(made.id, None, only=("dag_a", "dag_c")).id == made.id
    rights.unreadable = {"dag_b"}
    error = refused(readable_change_set, made.id, None)
    assert error.status == 403
    assert "dag_b" not in f"{error} {error.details}"
    rights.unreadable = set(DAGS)
    assert refused(readable_change_set, made.id, None).status == 404


def at_once(*steps):
    """Take steps in threads that begin together; return what each returned or raised."""
    gate, found = threading.Barrier(len(steps)), [None] * len(steps)

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = steps[number]()
        except Refused as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_of_two_confirmations_at_once_one_has_the_whole_set(session):
    for _ in range(5):
        made = set_of(*DAGS, what=days(1, 31, task_regex="^load$"))
        given = acknowledging(made)
        found = at_once(partial(confirm, made, ME, given), partial(confirm, made, OTHER, given))
        assert sorted(type(one).__name__ for one in found) == ["ChangeSet", "Refused"]
        (won,) = (one for one in found if isinstance(one, ChangeSet))
        (lost,) = (one for one in found if isinstance(one, Refused))
        assert lost.status == 409
        assert {one.applied_by for one in reread(made).plans} == {won.applied_by}
        assert is_awake(session, made) == [True, False, False]
        control.stop_change_set(reread(made), ME, now())


def test_two_sets_of_the_same_dags_confirmed_at_once_do_not_hang(session):
    for _ in range(3):
        one, other = set_of(*DAGS), set_of(*reversed(DAGS))
        found = at_once(partial(confirm, one), partial(confirm, other, OTHER))
        assert all(isinstance(each, ChangeSet) for each in found), found
        for each in (one, other):
            control.stop_change_set(reread(each), ME, now())


def test_a_single_plan_that_clears_the_same_first_makes_the_set_stale(session):
    made = set_of(*DAGS)
    single = make_plan(replace(days(1, 1), dag_id="dag_b"), OTHER, now())
    acting.clear(single, OTHER)
    error = refused(confirm, made)
    assert [one["dag_id"] for one in error.details["dags"]] == ["dag_b"]
    assert statuses(reread(made)) == ["ready", "stale", "ready"]


@pytest.mark.airflow32
def test_a_plan_that_drifts_under_way_stops_those_behind_it(session):
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    move(session, "dag_b")
    before = of_dags(everything(session), "dag_b", "dag_c")
    found = drive(made)
    assert statuses(found) == ["applied", "stopped", "stopped"]
    assert found.shown_status(now()) == "stopped"
    assert found.stopped_plan.dag_id == "dag_b"
    assert [one.stop_reason and one.stop_reason.kind for one in found.plans] == [None, "drift", "not_begun"]
    assert "dag_b" not in found.plans[2].stop_reason.reason
    assert diff_snapshots(before, of_dags(everything(session), "dag_b", "dag_c")) == {}
    error = refused(control.continue_change_set, found, ME, now())
    assert (error.status, [one["dag_id"] for one in error.details["dags"]]) == (409, ["dag_b"])
    control.continue_change_set(found, OTHER, now(), skip_stopped=True)
    assert is_awake(session, made) == [False, False, True]
    found = drive(made)
    assert statuses(found) == ["applied", "stopped", "applied"]
    assert audited(session, "safe_clear_resume") == ["dag_c"]


def test_stop_stops_all_that_are_not_done_and_continue_goes_on(session):
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    stopped = control.stop_change_set(reread(made), OTHER, now())
    assert statuses(stopped) == ["applied", "stopped", "stopped"]
    assert audited(session, "safe_clear_stop") == ["dag_b", "dag_c"]
    assert is_awake(session, stopped) == [False] * 3
    assert statuses(control.stop_change_set(stopped, ME, now())) == statuses(stopped)
    error = refused(confirm, stopped)
    assert (error.status, error.details["status"]) == (409, "stopped")
    going = control.continue_change_set(stopped, OTHER, now(), reason="go on")
    assert statuses(going) == ["applied", "applying", "applying"]
    assert is_awake(session, going) == [False, True, False]
    assert statuses(drive(made)) == ["applied"] * 3
    assert refused(control.continue_change_set, reread(made), ME, now()).status == 409


def test_what_has_not_stopped_is_not_continued():
    made = set_of(*DAGS)
    assert refused(control.continue_change_set, made, ME, now()).status == 409
    confirm(made)
    assert refused(control.continue_change_set, reread(made), ME, now()).status == 409


def test_stopping_one_plan_stops_those_behind_it(session):
    made = set_of(*DAGS)
    found = confirm(made)
    stop_plan(found.plans[1], ME, now())
    found = reread(made)
    assert statuses(found) == ["applying", "stopped", "stopped"]
    # A reader of the plan of dag_c may not see dag_b.
    assert found.plans[2].stop_reason.kind == "not_begun"
    assert "dag_b" not in str(found.plans[2].stop_reason)
    assert statuses(drive(made)) == ["applied", "stopped", "stopped"]
    assert drive(made).shown_status(now()) == "stopped"


def test_a_stopped_set_is_undone_as_far_as_it_had_come(session):
    before = everything(session)
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    control.stop_change_set(reread(made), ME, now())
    undo(reread(made))
    found = drive(made)
    assert statuses(found) == ["undone", "stopped", "stopped"]
    assert found.shown_status(now()) == "undone"
    assert diff_snapshots(before, everything(session)) == {}
    error = refused(control.continue_change_set, found, ME, now())
    assert error.status == 409


def test_undo_takes_back_single_dags_and_single_runs(session):
    before = everything(session)
    made = clear(set_of(*DAGS))
    undo(made, {"dag_c": ()})
    assert is_awake(session, made) == [False, False, True]
    assert statuses(drive(made)) == ["applied", "applied", "undone"]
    assert diff_snapshots(of_dags(before, "dag_c"), of_dags(everything(session), "dag_c")) == {}
    undo(reread(made), {"dag_a": ("run_1",), "dag_b": ("run_2",)})
    assert is_awake(session, made) == [False, True, False]
    found = drive(made)
    assert [one.undone_runs for one in found.plans] == [1, 1, 2]
    undone = {
        (one.dag_id, one.run_id) for one in session.scalars(select(DagRun).where(DagRun.state == "failed"))
    }
    assert undone == {("dag_a", "run_1"), ("dag_b", "run_2"), ("dag_c", "run_1"), ("dag_c", "run_2")}
    undo(found)
    assert drive(made).shown_status(now()) == "undone"
    assert diff_snapshots(before, everything(session)) == {}


def test_an_undo_of_what_is_not_there_is_refused_whole(session):
    made = clear(set_of("dag_a", "dag_b"))
    assert refused(undo, made, {"dag_a": (), "dag_c": ()}).status == 422
    assert refused(undo, made, {"dag_a": (), "dag_b": ("nope",)}).status == 409
    assert not reread(made).is_undoing
    undo(made, {"dag_b": ()})
    drive(made)
    error = refused(undo, reread(made), {"dag_a": (), "dag_b": ()})
    assert (error.status, [one["dag_id"] for one in error.details["dags"]]) == (409, ["dag_b"])
    assert not reread(made).is_undoing


def test_an_undo_is_stopped_as_a_whole(session):
    made = clear(set_of(*DAGS))
    undo(made)
    stopped = control.stop_change_set(reread(made), ME, now())
    assert not stopped.is_undoing
    assert statuses(stopped) == ["applied"] * 3
    undo(stopped)
    drive_step(made)
    stop_plan(reread(made).plans[1], ME, now())
    found = reread(made)
    assert not found.is_undoing
    assert statuses(found) == ["applied", "applied", "undone"]


def test_stop_stops_a_clear_beside_an_undo(session):
    made = set_of(*DAGS)
    confirm(made)
    drive_step(made)
    undo(reread(made), {"dag_a": ()})
    control.stop_change_set(reread(made), ME, now())
    found = reread(made)
    assert not found.is_undoing
    assert statuses(found) == ["applied", "stopped", "stopped"]


def test_a_plan_of_a_set_is_not_decided_of_alone_but_can_be_undone_alone(session, options):
    options(approve_above=1)
    made = set_of(*DAGS)
    one = made.plans[1]
    given = Confirmation("because", one.dag_id)
    for step in (
        lambda: apply_plan(one, one.fingerprint, "because", ME, now()),
        lambda: confirm_plan(one, one.fingerprint, given, ME, now()),
        lambda: request_approval(one, "because", ME, now()),
        lambda: decline_plan(one, "because", ME, now()),
        lambda: discard_draft(one, ME, now()),
    ):
        error = refused(step)
        assert (error.status, error.details) == (409, {"change_set": made.id})
        assert "/" not in error.problem.remedy
    assert statuses(reread(made)) == ["ready"] * 3
    options(approve_above=0)
    made = clear(made)
    undo_plan(made.plans[1], (), "this one", ME, now())
    assert is_awake(session, made) == [False, True, False]
    assert statuses(drive(made)) == ["applied", "undone", "applied"]


def lacking(made: ChangeSet, given: SetConfirmation, actor: Actor = ME):
    with pytest.raises(Unconfirmed) as found:
        confirm(made, actor, given)
    assert statuses(reread(made)) == ["ready"] * len(made.plans)
    return [(one.what, one.limit, one.value) for one in found.value.missing], found.value.status


def test_limits_count_over_the_set(options):
    options(confirm_above=PER_DAG, max_task_instances=0, require_reason=True)
    made = set_of(*DAGS)
    assert lacking(made, SetConfirmation()) == (
        [("reason", "require_reason", True), ("confirm_task_instances", "confirm_above", PER_DAG)],
        422,
    )
    number = [("confirm_task_instances", "confirm_above", PER_DAG)]
    assert lacking(made, SetConfirmation("because", PER_DAG))[0] == number
    assert lacking(made, SetConfirmation("because", True))[0] == number
    options(max_task_instances=2 * PER_DAG)
    found, status = lacking(made, acknowledging(made))
    assert (found, status) == ([("too_many", "max_task_instances", 2 * PER_DAG)], 422)
    options(max_task_instances=3 * PER_DAG)
    assert statuses(confirm(made)) == ["applying"] * 3


def test_a_large_set_says_that_it_goes_at_once(options):
    options(canary_above=2 * PER_DAG)
    made = set_of(*DAGS)
    assert lacking(made, acknowledging(made))[0] == [("waves", "canary_above", 2 * PER_DAG)]
    assert statuses(confirm(made, pace=Pace(is_chosen=True))) == ["applying"] * 3


def test_each_finding_is_acknowledged_per_plan(session):
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(state="success"))
    session.commit()
    made = set_of(*DAGS, what=days(1, 31, task_regex="^transform$"))
    all_of = [(dag_id, "stale_downstream") for dag_id in DAGS]
    given = SetConfirmation("because", acknowledge=tuple(all_of[:1]))
    assert lacking(made, given)[0] == [("acknowledge", None, list(one)) for one in all_of[1:]]
    applied = confirm(made, given=replace(given, acknowledge=tuple(all_of)))
    assert [one.acknowledged for one in applied.plans] == [("stale_downstream",)] * 3


def test_a_protected_task_of_one_dag_refuses_the_set(options):
    made = set_of(*DAGS)
    options(protected="dag_b:^load$")
    found, status = lacking(made, acknowledging(made))
    assert (found, status) == ([("protected", "protected", ["dag_b:^load$"])], 422)


@pytest.mark.airflow32
def test_above_a_size_a_second_person_confirms_the_whole_set(session, options):
    options(approve_above=2 * PER_DAG)
    made = set_of(*DAGS)
    found, status = lacking(made, acknowledging(made))
    assert (found, status) == ([("approval", "approve_above", 2 * PER_DAG)], 403)
    assert refused(approval.request_set_approval, made, "", ME, now()).status == 422
    assert refused(approval.request_set_approval, made, "x", OTHER, now()).status == 403
    asked = approval.request_set_approval(made, "bad rates", ME, now())
    assert asked.shown_status(now()) == "waiting"
    assert (asked.reason, asked.expires_at) == ("bad rates", asked.plans[0].expires_at)
    assert asked.expires_at > made.expires_at
    assert audited(session, "safe_clear_ask") == list(DAGS)
    # A person who saw it before that must look at it again first.
    assert refused(confirm, made, OTHER).status in (409, 422)
    applied = confirm(asked, OTHER, acknowledging(asked, ""))
    assert {(one.approved_by, one.reason) for one in applied.plans} == {(OTHER.id, "bad rates")}
    assert applied.reason == "bad rates"


def test_a_set_is_declined_and_withdrawn_whole(session, options):
    options(approve_above=1)
    made = set_of(*DAGS)
    assert refused(approval.decline_change_set, made, "no", OTHER, now()).status == 409
    asked = approval.request_set_approval(made, "bad rates", ME, now())
    assert refused(approval.decline_change_set, asked, "", OTHER, now()).status == 422
    declined = approval.decline_change_set(asked, "no", OTHER, now())
    assert statuses(declined) == ["declined"] * 3
    assert declined.shown_status(now()) == "declined"
    assert approval.decline_change_set(declined, "no", OTHER, now()).id == made.id
    assert audited(session, "safe_clear_decline") == list(DAGS)
    assert refused(confirm, declined, OTHER).status == 409
    other = approval.request_set_approval(set_of(*DAGS), "again", ME, now())
    assert approval.decline_change_set(other, "", ME, now()).plans[0].is_withdrawn


def test_a_set_that_needs_nobody_else_asks_nobody():
    assert refused(approval.request_set_approval, set_of(*DAGS), "why", ME, now()).status == 409


def test_what_was_cleared_is_on_record_per_dag(session):
    made = clear(set_of("dag_a", "dag_b"))
    assert audited(session, "safe_clear") == ["dag_a"] * PER_DAG + ["dag_b"] * PER_DAG
    undo(made)
    drive(made)
    assert audited(session, "safe_clear_ask_undo") == ["dag_a", "dag_b"]


def rows_of(session, table):
    session.rollback()
    return len(session.execute(select(table)).all())


def test_a_set_is_kept_as_long_as_one_of_its_plans_and_goes_with_the_last(session, options):
    options(history_retention_days=30)
    made = clear(set_of(*DAGS))
    long_ago = {"last_step_at": START, "applied_at": START, "expires_at": START}
    old = [UUID(one.id) for one in made.plans[:2]]
    session.execute(update(plan).where(plan.c.id.in_(old)).values(**long_ago))
    session.commit()
    clean_up(now())
    assert (rows_of(session, plan), rows_of(session, change_set)) == (3, 1)
    session.execute(update(plan).values(**long_ago))
    session.commit()
    clean_up(now())
    assert (rows_of(session, plan), rows_of(session, change_set)) == (0, 0)


def test_a_set_that_was_left_without_plans_goes_too(session):
    """The state that two purgers leave which remove its last two plans at once."""
    old, new = set_of("dag_a"), set_of("dag_b")
    session.execute(plan.delete())
    session.execute(update(change_set).where(change_set.c.id == UUID(old.id)).values(created_at=START))
    session.commit()
    clean_up(now())
    session.rollback()
    assert [one.hex for one in session.scalars(select(change_set.c.id))] == [new.id]


def test_a_set_that_nobody_confirmed_goes_once_it_expired(session):
    set_of(*DAGS)
    session.execute(update(plan).values(expires_at=START))
    session.commit()
    clean_up(now())
    assert (rows_of(session, plan), rows_of(session, change_set)) == (0, 0)


def test_a_failure_in_the_last_claim_claims_nothing(session, monkeypatch):
    """Fail like a server that dies before the commit."""
    made = set_of(*DAGS)
    real = drift.find_drift

    def fails(of, *args, **kwargs):
        if of.dag_id == "dag_c":
            raise RuntimeError("killed")
        return real(of, *args, **kwargs)

    monkeypatch.setattr(drift, "find_drift", fails)
    with pytest.raises(RuntimeError):
        confirm(made)
    assert statuses(reread(made)) == ["ready"] * 3
    assert reread(made).applied_by is None
