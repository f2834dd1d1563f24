"""Decisions on a plan as a whole in the audit log: who, which plan and DAG, why, and only if they counted."""

from __future__ import annotations

import json

import pytest
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.clear import audit_log, clear_runs
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.approval import decline_plan, request_approval
from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.acting import ME, OTHER, days, now, plan_of, reread, step, undo
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture(autouse=True)
def dag(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "3")
    return store_etl(session, runs=4)


@pytest.fixture
def two_needed(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "2")


def decisions(session):
    """Return the audit rows that are of no task instance: event, dag id, owner, and what else they say."""
    session.rollback()
    of_a_plan = Log.event.startswith("safe_clear"), Log.task_id.is_(None)
    rows = session.scalars(select(Log).where(*of_a_plan).order_by(Log.id))
    return [(row.event, row.dag_id, row.owner, json.loads(row.extra)) for row in rows]


@pytest.mark.one_database
def test_who_stops_a_clear_is_on_record_once(session):
    plan = step(plan_of(days(1, 3)))
    for _ in range(2):
        stop_plan(plan, OTHER, now())
    [(event, dag_id, owner, extra)] = decisions(session)
    assert (event, dag_id, owner) == ("safe_clear_stop", "etl", "Somebody else")
    assert extra == {
        "plan_id": plan.id,
        "user_id": "2",
        "reason": "",
        "applied_by": "Me",
        "stopped": "clear",
    }


def test_a_stop_that_stops_nothing_leaves_no_trace(session):
    plan = plan_of(days(1, 3))
    assert stop_plan(plan, OTHER, now()).status == "ready"
    assert decisions(session) == []


@pytest.mark.one_database
def test_who_resumes_a_stopped_clear_is_on_record_but_not_each_of_its_batches(session):
    plan = stop_plan(step(plan_of(days(1, 4))), ME, now())
    plan = step(plan, OTHER, resume=True)
    # A request whose answer was lost is sent again.
    while plan.status == "applying":
        plan = step(plan, OTHER, resume=True)
    assert plan.status == "applied"
    [_, (event, dag_id, owner, extra)] = decisions(session)
    assert (event, dag_id, owner) == ("safe_clear_resume", "etl", "Somebody else")
    assert extra == {
        "plan_id": plan.id,
        "user_id": "2",
        "reason": "because",
        "applied_by": "Me",
        "status_before": "stopped",
        "stopped_because": "stopped",
        "mismatches": [],
    }


@pytest.mark.one_database
def test_who_takes_a_clear_over_is_on_record(session):
    plan = step(plan_of(days(1, 4)))
    step(plan, OTHER, resume=True)
    [(event, _, owner, extra)] = decisions(session)
    assert (event, owner, extra["applied_by"], extra["status_before"]) == (
        "safe_clear_resume",
        "Somebody else",
        "Me",
        "applying",
    )


@pytest.mark.one_database
def test_a_resume_over_a_mismatch_says_what_had_differed(session, monkeypatch):
    plan, real = plan_of(days(1, 2)), clear_runs.clear_task_instances

    def does_more(tis, session, **options):
        real(tis, session, **options)
        session.execute(update(TaskInstance).where(TaskInstance.id == tis[0].id).values(max_tries=99))

    monkeypatch.setattr(clear_runs, "clear_task_instances", does_more)
    plan = step(plan)
    assert plan.stop_reason.kind == "mismatch"
    monkeypatch.undo()
    plan = step(plan, OTHER, resume=True)
    [(event, _, owner, extra)] = decisions(session)
    assert (event, owner, extra["stopped_because"]) == ("safe_clear_resume", "Somebody else", "mismatch")
    assert any("max_tries" in line for line in extra["mismatches"])


def test_a_resume_that_is_refused_leaves_no_trace(session):
    plan = stop_plan(step(plan_of(days(1, 4))), ME, now())
    undo(plan)
    seen = decisions(session)
    with pytest.raises(Refused):
        step(reread(plan, session), OTHER, resume=True)
    assert decisions(session) == seen


def test_who_asks_and_who_declines_are_on_record(session, two_needed):
    plan = plan_of(days(1, 2))
    for _ in range(2):
        plan = request_approval(plan, "bad rates", ME, now())
    for _ in range(2):
        plan = decline_plan(plan, "not before Friday", OTHER, now())
    of_the_plan = {"plan_id": plan.id, "task_instances": 6, "dag_runs": 2, "asked_by": "Me"}
    assert decisions(session) == [
        ("safe_clear_ask", "etl", "Me", {**of_the_plan, "user_id": "1", "reason": "bad rates"}),
        (
            "safe_clear_decline",
            "etl",
            "Somebody else",
            {**of_the_plan, "user_id": "2", "reason": "not before Friday"},
        ),
    ]


def test_who_withdraws_is_on_record(session, two_needed):
    plan = decline_plan(request_approval(plan_of(days(1, 2)), "bad rates", ME, now()), "", ME, now())
    assert [(event, owner) for event, _, owner, _ in decisions(session)] == [
        ("safe_clear_ask", "Me"),
        ("safe_clear_withdraw", "Me"),
    ]
    assert plan.is_withdrawn


def test_a_decision_that_does_not_commit_is_not_on_record(session, monkeypatch):
    """It is one transaction: without the audit row there is no stop either."""
    plan = step(plan_of(days(1, 4)))

    def fails(*_, **__):
        raise OperationalError("insert", {}, Exception("no room"))

    monkeypatch.setattr(audit_log, "record_decision", fails)
    with pytest.raises(OperationalError):
        stop_plan(plan, OTHER, now())
    assert reread(plan, session).status == "applying"
    assert decisions(session) == []


@pytest.mark.one_database
def test_plans_that_are_only_made_are_not_on_record(session):
    make_plan(days(1, 2, exclude_task_id=("load",)), ME, now())
    assert session.execute(text("SELECT count(*) FROM log")).scalar() == 0
