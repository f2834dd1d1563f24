"""One role migrates and owns the tables, another runs Airflow: it cannot analyze them, and need not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import timedelta

import pytest
from airflow import settings
from sqlalchemy import text

from safe_clear_plugin.core.batch_size import BatchSizer
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from tests.db.acting import clear, days, now, plan_of, undo, undo_step
from tests.query_plans.history import repeat_run
from tests.support.factories import make_run, set_states, store_dag
from tests.support.query_plan import empty_pages_and_statistics, explaining, work
from tests.support.receiver import receiving
from tests.support.roles import acting_as, role_without_tables
from tests.support.scenes import FAILED_RUN, START, etl_dag, store_etl
from tests.support.webhook import configure, deliver_all

pytestmark = [pytest.mark.backend, pytest.mark.driver]

ROLE = "runs_airflow"
RUNS = 220
"""With three task instances each, enough for the owner to analyze the plan."""
TABLES = (
    *("dag_run", "task_instance"),
    *("safe_clear_plan_run", "safe_clear_plan_task", "safe_clear_plan_task_instance"),
    *("safe_clear_before_dag_run", "safe_clear_before_task_instance"),
)
LITTLE = 20_000
"""Rows that a step goes through, below which it does not matter how."""
MAX_EACH = 300
"""Rows that a step may go through for each task instance, whatever their number."""


@pytest.fixture(autouse=True)
def other_role(session, backend):
    if backend.name != "postgresql":
        pytest.skip("SQLite has no roles")
    empty_pages_and_statistics()
    _set_autovacuum("SET (autovacuum_enabled = off)", session)
    with role_without_tables(ROLE, session):
        yield
    _set_autovacuum("RESET (autovacuum_enabled)", session)


@pytest.fixture(autouse=True)
def batches_of_one_size(monkeypatch):
    """So that a step goes through as many rows on a busy machine, where batches would be smaller."""
    monkeypatch.setattr(BatchSizer, "next_size", lambda _, most: min(most, 100))


def _set_autovacuum(action, session):
    for name in TABLES:
        session.execute(text(f"ALTER TABLE {name} {action}"))
    session.commit()


def store_history(session):
    dag = etl_dag()
    store_dag(dag, session=session)
    run = make_run(dag, session=session, logical_date=START, run_id="run_0", state="failed")
    set_states(run, FAILED_RUN, session=session, start_date=START)
    session.commit()
    repeat_run("etl", RUNS, session)
    session.execute(text("ANALYZE dag_run, task_instance"))
    session.commit()


def test_another_role_than_the_owner_tells_the_webhook(session, monkeypatch):
    store_etl(session)
    with receiving() as receiver, acting_as(ROLE):
        configure(monkeypatch, receiver.url)
        undo(clear(days(1, 2)))
        assert deliver_all() == 3
    assert receiver.told == [(1, "started"), (2, "done"), (3, "undone")]


def work_of_each_step(role):
    """Preview, clear, and undo, each in one go; return the rows that each went through."""
    steps = {}
    with explaining(settings.engine) as found, acting_as(role) if role else nullcontext():

        def measured(name, step):
            before = len(found)
            result = step()
            # To compile a statement takes longer than all that a batch does.
            assert not any("JIT" in one for one in found[before:]), name
            steps[name] = sum(work(one["Plan"]) for one in found[before:])
            if steps[name] > MAX_EACH * 3 * RUNS:
                worst = max(found[before:], key=lambda one: work(one["Plan"]))
                print(json.dumps(worst))
            return result

        chosen = Selection("etl", date_from=START, date_to=START + timedelta(hours=RUNS))
        plan = measured("preview", lambda: plan_of(chosen))
        assert plan.task_instances == 3 * RUNS
        plan = measured("clear", lambda: clear(plan))
        assert measured("preview of the undo", lambda: preview_undo(plan, now())).put_back == 3 * RUNS
        plan = measured("first batch of the undo", lambda: undo_step(plan))
        plan = measured("rest of the undo", lambda: undo(plan))
        assert (plan.put_back, plan.stayed) == (3 * RUNS, 0)
    return steps


def test_another_role_than_the_owner_costs_the_database_no_more(session, metadata_db):
    store_history(session)
    owner = work_of_each_step(None)
    metadata_db.wipe(session)
    empty_pages_and_statistics()
    session.execute(text(f"ANALYZE {', '.join(TABLES)}"))
    store_history(session)
    other = work_of_each_step(ROLE)
    assert {name: rows for name, rows in other.items() if rows > 2 * owner[name] + LITTLE} == {}, owner
    assert {name: rows for name, rows in other.items() if rows > MAX_EACH * 3 * RUNS} == {}


@pytest.mark.parametrize("role", [None, ROLE])
def test_a_clear_looks_rows_up_in_tables_that_postgresql_knows_as_empty(session, role):
    """As after an installation: the history of task instances among them."""
    session.execute(text("ANALYZE"))
    store_history(session)
    assert work_of_each_step(role)["clear"] < MAX_EACH * 3 * RUNS
