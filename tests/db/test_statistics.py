"""PostgreSQL must know how large a plan is before it joins the plan's rows."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from sqlalchemy import text

from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import before_task_instance, plan_run, plan_task_instance
from safe_clear_plugin.storage.undo.verdicts import task_instance_verdicts
from tests.db.acting import clear, days, now
from tests.support.scenes import store_etl

TABLES = (plan_run, plan_task_instance, before_task_instance)


@pytest.fixture
def cleared(session, backend, monkeypatch):
    if backend.name != "postgresql":
        pytest.skip("only PostgreSQL plans by statistics that somebody must gather")
    for table in TABLES:
        session.execute(text(f"ALTER TABLE {table.name} SET (autovacuum_enabled = off)"))
    session.commit()
    monkeypatch.setattr(statistics, "SMALL", 10)
    store_etl(session, runs=20)
    yield clear(days(1, 20))
    session.rollback()
    for table in TABLES:
        session.execute(text(f"ALTER TABLE {table.name} RESET (autovacuum_enabled)"))
    session.commit()


def expected_rows(plan, session):
    """Return how many rows the planner expects of the plan's task instances."""
    session.rollback()
    query = text(f"EXPLAIN (FORMAT JSON) SELECT * FROM {before_task_instance.name} WHERE plan_id = :id")
    [[found]] = session.execute(query, {"id": UUID(plan.id)}).scalars().all()
    return found["Plan"]["Plan Rows"]


def test_an_undo_is_planned_for_as_many_rows_as_there_are(cleared, session):
    assert preview_undo(cleared, now()).put_back == 60
    assert expected_rows(cleared, session) == 60
    verdicts = task_instance_verdicts(UUID(cleared.id), "etl")
    assert len(session.execute(verdicts.select()).all()) == 60


def test_what_has_not_changed_is_not_analyzed_again(cleared, session):
    preview_undo(cleared, now())

    def analyzed():
        session.rollback()
        query = text("SELECT sum(analyze_count) FROM pg_stat_user_tables WHERE relname LIKE 'safe_clear%'")
        return session.scalar(query)

    # Connections tell of what they wrote some seconds late.
    for _ in range(40):
        before = analyzed()
        preview_undo(cleared, now())
        if analyzed() == before:
            break
        time.sleep(0.5)
    assert before
    assert analyzed() == before
