"""The history with one entry for each change set: in one order, in pages, under every filter."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from itertools import combinations_with_replacement
from uuid import UUID

import pytest
from airflow.models.log import Log
from sqlalchemy import update

from safe_clear_plugin.core.history import HistoryFilter
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.history import list_history
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.storage.plans import history
from safe_clear_plugin.storage.tables import change_set, plan
from tests.db.acting import ME, OTHER, now, plan_of
from tests.db.change_set_acting import confirm, days, drive, fake_auth_manager, set_of
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.driver]

DAGS = ("dag_a", "dag_b", "dag_c")
HOUR = timedelta(hours=1)
SETS = 12
SORTS = ("at", "dag_id", "task_instances", "user", "outcome")
READY = {"status": "ready", "expires_at": now() + HOUR}
STANDS = {
    "ready": READY,
    "waiting": {**READY, "approval_asked_at": now()},
    "expired": {**READY, "expires_at": now() - HOUR, "approval_asked_at": now()},
    "declined": {"status": "declined"},
    "stale": {"status": "stale"},
    "applying": {"status": "applying", "cleared_runs": 1, "next_step_at": now() + HOUR},
    "interrupted": {"status": "applying", "next_step_at": now() - HOUR},
    "applied": {"status": "applied", "cleared_runs": 2},
    "stopped": {"status": "stopped", "cleared_runs": 1},
    "not_begun": {"status": "stopped", "cleared_runs": 0},
    "undone": {"status": "undone", "cleared_runs": 1, "undone_runs": 1},
}


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


@pytest.fixture(autouse=True)
def dags(session):
    for dag_id in DAGS:
        store_etl(session, dag_id, runs=2)


def put(session, plan_id, **values):
    session.execute(update(plan).where(plan.c.id == UUID(plan_id)).values(**values))
    session.commit()


def listed(session, sort="-at", dag_id="", offset=0, limit=50, **wanted):
    session.rollback()
    asked = HistoryFilter(now=now(), by_set=True, **wanted)
    return list_history(asked, dag_id, sort, None, session, offset=offset, limit=limit)


def ids(found):
    return [
        (one.plan and one.plan.id) or (one.change_set and one.change_set.id) or one.logged.id
        for one in found.entries
    ]


def test_a_set_has_the_same_status_in_sql_and_in_python(session):
    made = set_of("dag_a", "dag_b")
    one, other = made.plans
    for first, second in combinations_with_replacement(STANDS, 2):
        for member, kind in ((one, first), (other, second)):
            unset = {"approval_asked_at": None, "cleared_runs": 0, "undone_runs": 0, "next_step_at": None}
            put(session, member.id, **{**unset, **STANDS[kind]})
        status = get_change_set(made.id).shown_status(now())
        found = [
            ids(listed(session, drafts=drafts, outcome=outcome))
            for drafts, outcome in ((False, None), (True, None), (False, status.value))
        ]
        is_draft = first == second == "ready"
        assert found[:2] == ([[], [made.id]] if is_draft else [[made.id], []]), (first, second)
        assert found[2] == ([] if is_draft else [made.id]), (first, second, status)


def happened(session):
    """Store sets, plans and clears of Airflow's, with equal values among them."""
    chance = random.Random(7)
    for number in range(SETS):
        actor = ME if number % 3 else OTHER
        of = set_of(*chance.sample(DAGS, chance.randint(2, 3)), what=days(1, 1 + number % 2), actor=actor)
        stand = STANDS[chance.choice(("applied", "stale", "stopped", "undone", "declined"))]
        for member in of.plans:
            put(session, member.id, **stand, applied_by_name=actor.name, applied_at=now() - number * HOUR)
        values = {"applied_by_name": actor.name, "applied_at": now() - (number // 2) * HOUR}
        session.execute(update(change_set).where(change_set.c.id == UUID(of.id)).values(**values))
        session.commit()
    for number in range(6):
        alone = plan_of(Selection("dag_a", run_id=("run_1",)))
        put(session, alone.id, status="applied", applied_at=now() - number * 3 * HOUR, applied_by_name="Me")
    for number in range(5):
        row = Log(event="post_clear_task_instances", owner="ann", owner_display_name="ann", dag_id="dag_b")
        row.extra, row.dttm = json.dumps({"dry_run": False}), now() - number * 2 * HOUR
        session.add(row)
    session.commit()


def test_pages_follow_each_other_exactly_in_every_order(session):
    happened(session)
    for sort in (prefix + name for name in SORTS for prefix in ("", "-")):
        whole = ids(listed(session, sort))
        assert len(whole) == len(set(whole)) == SETS + 6 + 5
        pages = [listed(session, sort, offset=offset, limit=5) for offset in range(0, 25, 5)]
        assert [one for page in pages for one in ids(page)] == whole
        assert {page.total for page in pages} == {SETS + 11}
        keys = [key_of(one, sort.removeprefix("-")) for one in listed(session, sort).entries]
        assert keys == sorted(keys, reverse=sort.startswith("-")), sort


def key_of(entry, name):
    if name == "at":
        return entry.at
    if of := entry.change_set:
        return {
            "dag_id": min(of.dag_ids),
            "task_instances": of.task_instances,
            "user": (of.applied_by_name or of.created_by_name).lower(),
            "outcome": of.shown_status(now()).value,
        }[name]
    if one := entry.plan:
        return {
            "dag_id": one.dag_id,
            "task_instances": one.task_instances,
            "user": one.applied_by_name.lower(),
            "outcome": one.shown_status(now()).value,
        }[name]
    return {"dag_id": "dag_b", "task_instances": 0, "user": "ann", "outcome": "airflow"}[name]


def test_a_filter_that_meets_one_plan_finds_the_set(session):
    made = set_of("dag_a", "dag_b", what=days(1, 1, task_regex="^load$"))
    drive(confirm(made))
    (entry,) = listed(session).entries
    assert (entry.change_set.task_instances, entry.change_set.dag_ids) == (2, ("dag_a", "dag_b"))
    assert entry.first_run == entry.last_run is not None
    for wanted in (
        {"dag_id": "dag_b"},
        {"task_id": "load"},
        {"run_id": "run_1"},
        {"dag_id": "dag_a", "task_id": "load", "run_id": "run_1", "map_index": -1},
        {"user": "ME"},
        {"user_id": ME.id},
        {"since": now() - HOUR, "until": now() + HOUR},
        {"outcome": "applied"},
    ):
        assert ids(listed(session, **wanted)) == [made.id], wanted
    for wanted in (
        {"dag_id": "dag_c"},
        {"task_id": "extract"},
        {"run_id": "run_2"},
        {"user": "somebody"},
        {"user_id": OTHER.id},
        {"since": now() + HOUR},
        {"until": now() - HOUR},
        {"outcome": "stopped"},
        {"drafts": True},
    ):
        assert ids(listed(session, **wanted)) == [], wanted


def test_a_user_who_may_not_see_all_dags_of_a_set_sees_its_plans(session, rights):
    made = set_of(*DAGS)
    drive(confirm(made))
    assert ids(listed(session)) == ids(listed(session, dag_id="dag_b")) == [made.id]
    rights.unreadable = {"dag_c"}
    seen = {one.id for one in made.plans if one.dag_id != "dag_c"}
    assert set(ids(listed(session))) == seen
    (alone,) = ids(listed(session, dag_id="dag_b"))
    assert get_plan(alone).dag_id == "dag_b"
    rights.unreadable = set(DAGS)
    assert ids(listed(session)) == []


def test_without_sets_there_is_one_entry_a_plan(session):
    made = set_of("dag_a", "dag_b")
    drive(confirm(made))
    every = [TeamDag(dag_id) for dag_id in DAGS]
    keys = history.history(HistoryFilter(now=now(), dags=every), "-at", session, offset=0, limit=9)
    assert {key.plan_id.hex for key in keys} == {one.id for one in made.plans}
