"""Receipts: what is kept of plans, who finds it, and when it goes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.plan_filters import PlanFilter
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import apply_plan, stop_plan
from safe_clear_plugin.services.clear.rerun_progress import conflicting_clears
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.retention import clean_up
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import plan_list
from safe_clear_plugin.storage.tables import metadata, plan
from tests.support.driving import drive, drive_once, set_clock_forward
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend

ME = Actor("1", "Maria Okafor")
OTHER = Actor("2", "Jo Lindqvist")
NOW = datetime.now(timezone.utc)
ETL, OTHER_DAG = TeamDag("etl"), TeamDag("other_dag")


def days(first, last, dag_id="etl", **more):
    dates = {"date_from": START.replace(day=first), "date_to": START.replace(day=last)}
    return Selection(dag_id, **{**dates, **more})


def planned(first, last, actor=ME, **more):
    return make_plan(days(first, last, **more), actor, datetime.now(timezone.utc))


def step(found, actor=ME, reason="because", **options):
    return drive_once(
        apply_plan(found, found.fingerprint, reason, actor, datetime.now(timezone.utc), **options).id
    )


@pytest.fixture
def dag(session):
    return store_etl(session, runs=4)


@pytest.fixture
def one_run_a_batch(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")


def age(session, plan_id, **by):
    """Move a plan into the past."""
    moved = {
        column: getattr(plan.c, column)
        for column in ("created_at", "expires_at", "applied_at", "last_step_at")
    }
    row = session.execute(select(plan).where(plan.c.id == UUID(plan_id))).one()
    values = {name: getattr(row, name) - timedelta(**by) for name in moved if getattr(row, name)}
    session.execute(update(plan).where(plan.c.id == UUID(plan_id)).values(**values))
    session.commit()


def rows_left(session):
    session.rollback()
    counts = {
        table.name: session.scalar(select(func.count()).select_from(table))
        for table in metadata.sorted_tables
    }
    return {name: number for name, number in counts.items() if number}


def test_the_receipt_says_what_each_batch_did_when_by_whom_and_why(dag, session, one_run_a_batch):
    found = step(planned(1, 3))
    found = stop_plan(found, ME, datetime.now(timezone.utc))
    assert (found.status, found.stop_reason.kind, found.stop_reason.by) == (
        "stopped",
        "stopped",
        "Maria Okafor",
    )
    with pytest.raises(Refused) as refused:
        step(found)
    assert (refused.value.status, refused.value.details["done"], refused.value.details["total"]) == (
        409,
        3,
        9,
    )
    found = step(found, OTHER, reason="go on", resume=True)
    while found.status == "applying":
        found = step(found, OTHER, reason="go on", resume=True)
    drive(undo_plan(found, ("run_2",), "wrong day", OTHER, datetime.now(timezone.utc)).id)
    kept = plan_list.batches(UUID(found.id), session)
    assert [
        (b.number, b.kind, b.by_name, b.reason, b.dag_runs, b.task_instances, b.stayed) for b in kept
    ] == [
        (1, "clear", "Maria Okafor", "because", 1, 3, 0),
        (2, "clear", "Jo Lindqvist", "go on", 1, 3, 0),
        (3, "clear", "Jo Lindqvist", "go on", 1, 3, 0),
        (4, "undo", "Jo Lindqvist", "wrong day", 1, 3, 0),
    ]
    assert [(b.first_run, b.last_run) for b in kept] == [
        (START.replace(day=day), START.replace(day=day)) for day in (1, 2, 3, 2)
    ]
    assert all(b.at >= NOW for b in kept)


def test_plans_are_found_by_dag_person_status_and_date(dag, session, one_run_a_batch):
    store_etl(session, "other_dag", runs=1)
    ready = planned(4, 4)
    applied = step(planned(1, 1))
    left = step(planned(2, 3, OTHER), OTHER)
    expired = planned(4, 4)
    elsewhere = planned(1, 1, dag_id="other_dag")
    age(session, expired.id, hours=5)
    set_clock_forward(session, left, 61)

    def ids(**wanted):
        wanted = {"dags": (ETL, OTHER_DAG), "now": datetime.now(timezone.utc), **wanted}
        found = plan_list.plans(PlanFilter(**wanted), session)
        assert plan_list.count_plans(PlanFilter(**wanted), session) == len(found)
        return [item.id for item in found]

    assert plan_list.planned_dags(session) == [OTHER_DAG, ETL]
    assert plan_list.planned_dags(session, "etl") == [ETL]
    assert ids() == [elsewhere.id, left.id, applied.id, ready.id, expired.id]
    assert ids(dags=(OTHER_DAG,)) == [elsewhere.id]
    assert ids(dags=()) == ids(dags=(ETL._replace(team_name="team"),)) == []
    assert ids(user="lindQ") == ids(user_id="2") == [left.id]
    assert ids(user="%") == []
    assert ids(status="ready", dags=(ETL,)) == [ready.id]
    assert ids(status="expired") == [expired.id]
    assert ids(status="applied") == [applied.id]
    assert ids(status="interrupted") == [left.id]
    assert (
        ids(status="applying") == ids(status="stopped") == ids(status="undone") == ids(status="stale") == []
    )
    assert ids(until=NOW - timedelta(hours=1)) == [expired.id]
    assert len(ids(since=NOW - timedelta(hours=1))) == 4
    wanted = PlanFilter(datetime.now(timezone.utc), (ETL, OTHER_DAG))
    assert [item.id for item in plan_list.plans(wanted, session, offset=1, limit=2)] == [left.id, applied.id]


def test_the_second_operator_is_told_who_cleared_and_when(dag, session):
    mine, theirs = planned(1, 3), planned(3, 4, OTHER, task_regex="^load$")
    elsewhere = step(planned(4, 4, OTHER), OTHER)
    assert elsewhere.status == "applied"
    with pytest.raises(Refused):
        step(theirs, OTHER)
    theirs = step(planned(3, 3, OTHER, task_regex="^load$"), OTHER)
    with pytest.raises(Refused) as refused:
        step(mine)
    assert refused.value.status == 409
    [other] = conflicting_clears(mine, session)
    assert (other.plan_id, other.by_name, other.task_instances) == (theirs.id, "Jo Lindqvist", 1)
    assert (other.at >= theirs.applied_at, other.undone) == (True, False)
    late = planned(4, 4)
    assert conflicting_clears(late, session) == []
    drive(undo_plan(theirs, (), "", OTHER, datetime.now(timezone.utc)).id)
    assert conflicting_clears(mine, session)[0].undone


def test_a_clear_that_was_confirmed_before_the_preview_and_went_on_is_told_too(dag, session, one_run_a_batch):
    theirs = step(planned(1, 3, OTHER), OTHER)
    mine = planned(2, 3)
    step(theirs, OTHER)
    with pytest.raises(Refused):
        step(mine)
    assert [(other.plan_id, other.task_instances) for other in conflicting_clears(mine, session)] == [
        (theirs.id, 3)
    ]


def test_receipts_go_when_their_time_is_over(dag, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "7")
    old, young = step(planned(1, 1)), step(planned(2, 2))
    forgotten, ready = planned(3, 3), planned(4, 4)
    age(session, old.id, days=8)
    age(session, young.id, days=6)
    age(session, forgotten.id, days=2)
    clean_up(datetime.now(timezone.utc))
    session.rollback()
    assert set(session.scalars(select(plan.c.id))) == {UUID(young.id), UUID(ready.id)}
    assert {name: n for name, n in rows_left(session).items() if "before" in name} == {
        "safe_clear_before_task_instance": 3,
        "safe_clear_before_dag_run": 1,
    }
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__HISTORY_RETENTION_DAYS", "0")
    age(session, young.id, days=5000)
    clean_up(datetime.now(timezone.utc))
    session.rollback()
    assert UUID(young.id) in set(session.scalars(select(plan.c.id)))


def test_a_plan_whose_receipt_is_going_goes_on_no_more(dag, session, one_run_a_batch):
    found = step(planned(1, 3))
    found = stop_plan(found, ME, datetime.now(timezone.utc))
    after = datetime.now(timezone.utc) + timedelta(days=91)
    with pytest.raises(Refused) as refused:
        apply_plan(found, found.fingerprint, "", ME, after, resume=True)
    assert (refused.value.status, "too old" in refused.value.problem.reason) == (409, True)
    with pytest.raises(Refused) as refused:
        undo_plan(found, (), "", ME, after)
    assert (refused.value.status, "too long ago" in refused.value.problem.reason) == (409, True)
    assert preview_undo(found, after).problem == refused.value.problem
    assert preview_undo(found, after - timedelta(days=2)).put_back == 3
