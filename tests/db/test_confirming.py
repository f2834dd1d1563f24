"""Confirming: the limits as they are at that moment, a second person above one, and who gets there first."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from airflow.models.log import Log
from sqlalchemy import select

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.approval import decline_plan, request_approval
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.retention import clean_up
from safe_clear_plugin.storage.clear import plan_approval
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import metadata
from tests.db.acting import ME, OTHER, days, now, plan_of, reread
from tests.support.driving import drive_once
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot

THIRD = Actor("3", "Third")
OWN = {table.name for table in metadata.sorted_tables}
ALL = Confirmation("because", "etl", ("running_terminated", "stale_downstream"))
"""All that a plan of these tests may ask for."""


@pytest.fixture(autouse=True)
def dag(session):
    return store_etl(session, runs=4)


@pytest.fixture
def options(monkeypatch):
    """Return a function that sets options of the section ``[safe_clear]``."""

    def set_options(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name.upper()}", str(value))

    return set_options


def three(**more) -> PlanSummary:
    """Plan to clear three task instances: the last task of three runs."""
    return plan_of(days(1, 3, task_regex="^load$", **more))


def confirm(plan, given=ALL, actor=ME, at=None, **options):
    return drive_once(confirm_plan(plan, plan.fingerprint, given, actor, at or now(), **options).id)


def lacking(plan, given=ALL, actor=ME):
    """Return what is missing."""
    with pytest.raises(Unconfirmed) as refused:
        confirm(plan, given, actor)
    return [(one.what, one.limit, one.value) for one in refused.value.missing]


def asked(plan, actor=ME):
    return request_approval(plan, "bad rates", actor, now())


@pytest.mark.parametrize(
    ("option", "what"), [("confirm_above", "confirm_dag_id"), ("max_task_instances", "too_many")]
)
def test_just_below_at_and_above(session, options, option, what):
    given = Confirmation("because")
    options(**{option: 2})
    plan = three()
    before = snapshot(session)
    assert lacking(plan, given) == [(what, option, 2)]
    assert diff_snapshots(before, snapshot(session)) == {}
    for limit in (3, 4, 0):
        options(**{option: limit})
        assert confirm(three(), given).status == "applied"


def test_a_refused_plan_says_so_from_the_start(options):
    options(max_task_instances=2, protected="etl:^load$ etl:transform other:load")
    plan = three()
    refusals = {found.code: found for found in plan.findings if found.level == "refuse"}
    assert set(refusals) == {"too_many", "protected"}
    assert refusals["protected"].count == 3
    assert "etl:^load$" in refusals["protected"].detail
    assert "transform" not in refusals["protected"].detail
    assert [what for what, _, _ in lacking(plan)] == ["too_many", "protected"]


def test_a_limit_that_came_after_the_preview(session, options):
    plan = three()
    before = snapshot(session)
    options(protected="etl:load", max_task_instances=1, require_reason="True", confirm_above=1)
    assert [what for what, _, _ in lacking(plan, Confirmation())] == [
        "too_many",
        "protected",
        "reason",
        "confirm_dag_id",
    ]
    options(protected="etl:(")
    assert "protected_unreadable" in [what for what, _, _ in lacking(plan)]
    assert diff_snapshots(before, snapshot(session)) == {}


def test_what_was_refused_stays_so_when_the_limit_goes(options):
    options(max_task_instances=2)
    plan = three()
    options(max_task_instances=0)
    assert lacking(plan) == [("too_many", "max_task_instances", 0)]
    assert confirm(three()).status == "applied"


def test_every_task_instance_that_is_changed_is_protected(session, dag, options):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "running", "load": None}, session=session)
    options(protected="etl:^transform$")

    def refused(**more):
        plan = plan_of(days(9, 9, **more))
        return [found.count for found in plan.findings if found.code == "protected"]

    assert refused() == []  # it is left out
    assert refused(running="terminate") == [1]
    assert refused(task_regex="^load$") == []
    assert refused(task_regex="^load$", include_upstream=True, running="terminate") == [1]


def test_what_a_pattern_that_cannot_be_read_was_meant_for_is_not_known(options):
    for pattern in ("nonsense", "etl:(", ":load", "other:x nonsense"):
        options(protected=pattern)
        [(what, option, _)] = lacking(three())
        assert (what, option) == ("protected_unreadable", "protected")


def test_several_batches_and_a_resume_ask_once(session, options):
    options(batch_size=1, confirm_above=2, require_reason="True")
    plan = confirm(three())
    assert (plan.status, plan.cleared_runs) == ("applying", 1)
    options(max_task_instances=1)  # what has begun goes on
    plan = confirm(plan, Confirmation())
    assert plan.cleared_runs == 2
    stop_plan(plan, ME, now())
    stopped = reread(plan, session)
    with pytest.raises(Refused, match="Stopped by Me"):
        confirm(stopped, Confirmation())
    assert confirm(stopped, Confirmation(), OTHER, resume=True).status == "applied"


@pytest.mark.parametrize("asked", [False, True], ids=["ready", "waiting"])
def test_a_plan_that_nobody_applied_is_not_resumed(session, options, asked):
    plan = three()
    if asked:
        options(approve_above=1)
        plan = request_approval(plan, "because", ME, now())
        options(approve_above=0)
    before = snapshot(session)
    with pytest.raises(Refused, match="nothing to resume") as refused:
        confirm(plan, ALL, OTHER, resume=True)
    assert (refused.value.status, refused.value.details["status"]) == (409, "ready")
    assert "apply it" in refused.value.problem.remedy
    assert diff_snapshots(before, snapshot(session)) == {}
    assert confirm(plan, ALL, OTHER).status == "applied"


def test_the_rest_of_a_plan_is_a_plan_like_any_other(session, options):
    options(batch_size=1)
    plan = stop_plan(confirm(three()), ME, now())
    options(confirm_above=1, approve_above=1)
    rest = plan_remaining(reread(plan, session), OTHER, now())
    assert rest.task_instances == 2
    assert lacking(rest, Confirmation(), OTHER) == [
        ("approval", "approve_above", 1),
        ("confirm_dag_id", "confirm_above", 1),
    ]
    assert lacking(rest, ALL, ME) == [("approval", "approve_above", 1)]
    asked(rest, OTHER)
    assert confirm(reread(rest, session), ALL, ME).approved_by == ME.id


def test_what_was_acknowledged_is_on_record(session, dag):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "success", "load": "running"}, session=session)
    plan = plan_of(days(9, 9, task_regex="^load$", running="terminate"))
    assert lacking(plan, Confirmation(acknowledge=("stale_downstream", "x"))) == [
        ("acknowledge", None, "running_terminated")
    ]
    done = confirm(plan, Confirmation(acknowledge=("x", "running_terminated", "dag_paused")))
    assert done.acknowledged == ("running_terminated",)
    [extra] = session.scalars(select(Log.extra).where(Log.event == "safe_clear"))
    assert json.loads(extra)["acknowledged"] == ["running_terminated"]
    assert "approved_by" not in json.loads(extra)


def test_nothing_to_acknowledge_leaves_no_trace(session):
    assert confirm(three(), Confirmation()).acknowledged == ()
    assert all("acknowledged" not in extra for extra in session.scalars(select(Log.extra)))


# A second person.


@pytest.mark.parametrize("limit", [0, 3, 4])
def test_at_the_limit_nobody_else_is_needed(options, limit):
    options(approve_above=limit)
    plan = three()
    with pytest.raises(Refused, match="needs no approval") as refused:
        asked(plan)
    assert refused.value.status == 409
    assert confirm(plan).approved_by is None


def test_above_it_the_author_asks_and_somebody_else_applies(session, options):
    options(approve_above=2, approval_ttl_minutes=60, require_reason="True")
    plan = three()
    with pytest.raises(Unconfirmed) as refused:
        confirm(plan)
    assert refused.value.status == 403
    assert lacking(plan, ALL, OTHER) == [("approval", "approve_above", 2)]

    at = now()
    waits = request_approval(plan, "bad rates", ME, at)
    assert (waits.approval_asked_at, waits.reason) == (at, "bad rates")
    assert waits.expires_at == at + timedelta(minutes=60)
    assert waits.is_waiting_for_approval(at)
    assert request_approval(waits, "another reason", ME, now()) == waits
    assert lacking(waits, ALL, ME) == [("approval", "approve_above", 2)]

    done = confirm(waits, Confirmation(), OTHER, at + timedelta(minutes=59))
    assert (done.status, done.approved_by, done.applied_by, done.created_by) == ("applied", "2", "2", "1")
    assert done.reason == "bad rates"
    extras = [
        json.loads(extra) for extra in session.scalars(select(Log.extra).where(Log.event == "safe_clear"))
    ]
    assert {(one["asked_by"], one["approved_by"], one["reason"]) for one in extras} == {
        ("Me", "Somebody else", "bad rates")
    }


def test_the_reason_of_the_author_stays(options):
    options(approve_above=2)
    done = confirm(asked(three()), Confirmation("mine"), OTHER)
    assert done.reason == "bad rates"


def test_a_plan_that_waits_expires(options):
    options(approve_above=2, approval_ttl_minutes=60)
    plan = asked(three())
    later = now() + timedelta(minutes=61)
    for late in (
        lambda: confirm(plan, ALL, OTHER, later),
        lambda: decline_plan(plan, "no", OTHER, later),
        lambda: request_approval(three(), "why", ME, later),
    ):
        with pytest.raises(Refused) as refused:
            late()
        assert refused.value.status == 410


def test_a_short_time_to_approve_shortens_no_plan(options):
    options(approve_above=2, approval_ttl_minutes=1, plan_ttl_minutes=30)
    plan = three()
    assert asked(plan).expires_at == plan.expires_at


def test_the_limit_changes_while_it_waits(options):
    options(approve_above=2)
    plan = asked(three())
    options(approve_above=0)
    done = confirm(plan, Confirmation())
    assert (done.status, done.approved_by, done.reason) == ("applied", None, "bad rates")

    plan = three()
    options(approve_above=2)
    assert lacking(plan) == [("approval", "approve_above", 2)]
    assert confirm(asked(plan), ALL, OTHER).status == "applied"


def test_only_the_author_asks_and_with_a_reason(session, options):
    options(approve_above=2)
    plan = three()
    before = snapshot(session)
    with pytest.raises(Refused) as refused:
        asked(plan, OTHER)
    assert refused.value.status == 403
    with pytest.raises(Unconfirmed) as unconfirmed:
        request_approval(plan, "", ME, now())
    assert [one.what for one in unconfirmed.value.missing] == ["reason"]
    options(protected="etl:")
    with pytest.raises(Unconfirmed) as unconfirmed:
        request_approval(plan, "why", ME, now())
    assert [one.what for one in unconfirmed.value.missing] == ["protected"]
    assert diff_snapshots(before, snapshot(session)) == {}


def test_declined(session, options):
    options(approve_above=2)
    plan = asked(three())
    before = snapshot(session)
    with pytest.raises(Unconfirmed) as unconfirmed:
        decline_plan(plan, "", OTHER, now())
    assert [one.what for one in unconfirmed.value.missing] == ["reason"]
    declined = decline_plan(plan, "not before Friday", OTHER, now())
    assert (declined.status, declined.declined_by, declined.declined_by_name, declined.decline_reason) == (
        "declined",
        "2",
        "Somebody else",
        "not before Friday",
    )
    assert not declined.is_withdrawn
    assert set(diff_snapshots(before, snapshot(session))) == {"safe_clear_plan", "log"}
    assert decline_plan(declined, "sent again", OTHER, now()) == declined
    for after in (
        lambda: confirm(declined, ALL, OTHER),
        lambda: confirm(declined, ALL, OTHER, resume=True),
        lambda: confirm(declined, ALL, ME),
        lambda: asked(declined),
        lambda: decline_plan(declined, "no", ME, now()),
        lambda: decline_plan(declined, "no", THIRD, now()),
    ):
        with pytest.raises(Refused, match="declined the plan") as refused:
            after()
        assert refused.value.status == 409
    assert set(diff_snapshots(before, snapshot(session))) == {"safe_clear_plan", "log"}


def test_withdrawn(options):
    options(approve_above=2)
    withdrawn = decline_plan(asked(three()), "", ME, now())
    assert withdrawn.is_withdrawn
    with pytest.raises(Refused, match="Me withdrew the plan"):
        confirm(withdrawn, ALL, OTHER)


def test_nobody_declines_what_nobody_was_asked_to_approve(session):
    plan = three()
    for actor in (ME, OTHER):
        with pytest.raises(Refused, match="No one has requested approval") as refused:
            decline_plan(plan, "no", actor, now())
        assert refused.value.status == 409
    assert reread(plan, session).status == "ready"


# Who gets there first: each has read the plan as it was before the other one.


def test_declined_before_the_claim(session, options):
    options(approve_above=2)
    plan = asked(three())
    before = snapshot(session)
    decline_plan(plan, "no", THIRD, now())
    with pytest.raises(Refused, match="Third declined the plan"):
        confirm(plan, ALL, OTHER)
    assert set(diff_snapshots(before, snapshot(session))) <= OWN | {"log"}


def test_applied_before_it_was_declined(session, options):
    options(approve_above=2)
    plan = asked(three())
    confirm(plan, ALL, OTHER)
    for actor, reason in ((ME, ""), (THIRD, "no")):
        with pytest.raises(Refused, match="has already applied") as refused:
            decline_plan(plan, reason, actor, now())
        assert refused.value.status == 409
    assert reread(plan, session).status == "applied"


def test_of_two_who_approve_one_applies(session, options):
    options(approve_above=2)
    plan = asked(three())
    confirm(plan, ALL, OTHER)
    with pytest.raises(Refused, match="Somebody else has already applied"):
        confirm(plan, ALL, THIRD)
    assert reread(plan, session).approved_by == OTHER.id


def test_asked_twice_at_once(session, options):
    options(approve_above=2)
    plan = three()
    first = asked(plan)
    again = request_approval(plan, "another reason", ME, now())
    assert (again.reason, again.approval_asked_at) == (first.reason, first.approval_asked_at)


def test_a_plan_that_was_taken_is_not_asked_for(session, options):
    plan = three()
    confirm(plan, ALL, OTHER)
    options(approve_above=2)
    with pytest.raises(Refused, match="has already applied"):
        asked(plan)
    assert reread(plan, session).approval_asked_at is None


def test_expired_between_the_question_and_the_answer(session, options):
    """What the service has checked, the database decides by the time of the write."""
    options(approve_above=2, approval_ttl_minutes=60)
    plan = asked(three())
    late = now() + timedelta(minutes=61)
    assert not plan_approval.decline(UUID(plan.id), "no", OTHER, late, session)
    session.rollback()
    assert reread(plan, session).status == "ready"


def test_what_was_declined_is_kept_as_long_as_a_receipt(session, options):
    options(approve_above=2, history_retention_days=90)
    declined = decline_plan(asked(three()), "no", OTHER, now())
    clean_up(now() + timedelta(days=89))
    assert reread(declined, session).declined_by_name == "Somebody else"
    clean_up(now() + timedelta(days=91))
    session.rollback()
    assert plan_reader.get(UUID(declined.id), session) is None


def test_asking_at_the_last_moment_does_not_let_the_author_through(session, options):
    """The plan has expired as the confirmation read it; that it is prolonged then changes nothing."""
    options(approve_above=2)
    plan = three()
    expiry = plan.expires_at
    request_approval(plan, "bad rates", ME, expiry - timedelta(milliseconds=200))
    before = snapshot(session, exclude_tables=OWN)
    with pytest.raises(Refused) as refused:
        confirm(plan, Confirmation(), at=expiry + timedelta(milliseconds=50))
    assert refused.value.status == 410
    found = reread(plan, session)
    assert (found.status, found.applied_by) == ("ready", None)
    assert diff_snapshots(before, snapshot(session, exclude_tables=OWN)) == {}


def test_what_was_checked_is_what_is_claimed(session, options):
    """An author who confirms just as the limit comes, and asks at the same time, gets neither past it."""
    plan = three()
    options(approve_above=2)
    request_approval(plan, "bad rates", ME, now())
    options(approve_above=0)
    with pytest.raises(Refused) as refused:
        confirm(plan)
    assert refused.value.status == 409
    assert reread(plan, session).status == "ready"


def test_a_required_reason_is_the_one_that_is_kept(session, options):
    options(require_reason="True")
    plan = make_plan(days(1, 3, task_regex="^load$"), ME, now(), reason="of the plan before")
    assert lacking(plan, replace(ALL, reason=""))
    assert confirm(plan).reason == "because"
