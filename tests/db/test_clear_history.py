"""The history of plans and of Airflow's audit log, in the same order on every backend."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
from airflow.models.log import Log

from safe_clear_plugin.core.history import HistoryFilter
from safe_clear_plugin.core.plan import PlanSummary, TeamDag
from safe_clear_plugin.storage.plans import history
from tests.db.acting import ME, OTHER, clear, confirm, days, now, plan_of, step, undo
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.driver]


def logged(session, ago, event="post_clear_task_instances", dag_id="etl", owner="ann", **extra):
    row = Log(event=event, owner=owner, owner_display_name=owner, dag_id=dag_id)
    row.extra = json.dumps({"dry_run": False, **extra})
    row.dttm = now() - ago
    session.add(row)
    session.commit()
    return row.id


def found(session, sort="-at", **wanted):
    """Return the ids of the listed entries, and check that the count is the same."""
    etl = [TeamDag("etl")]
    asked = HistoryFilter(now=now(), dags=etl, logged_dags=etl, **wanted)
    keys = history.history(asked, sort, session, offset=0, limit=50)
    assert history.count_history(asked, session) == len(keys)
    assert all(key.at.tzinfo for key in keys)
    return [key.plan_id.hex if key.plan_id else key.log_id for key in keys]


@pytest.fixture
def past(session):
    """Store a clear, one that was undone, a draft, and two clears of Airflow's before and after them."""
    store_etl(session)
    first = logged(session, timedelta(hours=1), task_ids=["load"], dag_run_id="run_1")
    cleared = clear(days(1, 2, task_regex="^transform$"))
    undone = undo(clear(days(3, 3), OTHER), actor=OTHER)
    draft = plan_of(days(1, 1))
    last = logged(session, -timedelta(minutes=1), task_ids=[["load", 2]])
    return [first, cleared.id, undone.id, draft.id, last]


def test_in_one_order(session, past):
    first, cleared, undone, draft, last = past
    assert found(session) == [last, undone, cleared, first]
    assert found(session, "at") == [first, cleared, undone, last]
    assert found(session, "-task_instances")[0] == undone
    assert found(session, "user")[:2] == [last, first]
    assert found(session, outcome="undone") == [undone]
    assert found(session, outcome="airflow") == [last, first]
    assert found(session, drafts=True) == [draft]
    assert found(session, drafts=True, user_id=OTHER.id) == []
    assert found(session, user_id=ME.id, user_name=ME.name) == [cleared]
    assert found(session, user="Some") == [undone]
    assert found(session, since=now() - timedelta(minutes=30)) == [last, undone, cleared]
    assert found(session, until=now() - timedelta(minutes=30)) == [first]


def test_by_what_was_cleared(session, past):
    first, cleared, undone, _, last = past
    assert found(session, task_id="load") == [last, undone, first]
    assert found(session, task_id="transform") == [undone, cleared]
    assert found(session, task_id="transform", run_id="run_1") == [cleared]
    assert found(session, task_id="load", map_index=2) == [last, first]
    assert found(session, task_id="load", map_index=-1) == [last, undone, first]
    assert found(session, run_id="run_3") == [undone]
    assert found(session, task_id="lo_d") == []
    assert found(session, task_id="nothing") == []


def test_only_cleared_leaves_out_what_is_yet_to_be_cleared(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    store_etl(session)
    plan: PlanSummary = step(plan_of(days(1, 3)))
    assert (plan.status, plan.cleared_runs) == ("applying", 1)
    waiting = confirm(plan_of(days(2, 2)), OTHER)
    for run_id, counted in (("run_1", [plan.id]), ("run_2", [])):
        assert found(session, run_id=run_id, only_cleared=True) == counted
    assert set(found(session, run_id="run_2")) == {plan.id, waiting.id}
    assert found(session, only_cleared=True) == [plan.id]


def test_a_plan_lies_between_the_runs_that_it_cleared(session, past):
    ids = [UUID(one) for one in past[1:4]]
    spans = history.run_spans(ids, session)
    assert [(first.day, last.day) for first, last in (spans[one] for one in ids)] == [(1, 2), (3, 3), (1, 1)]
