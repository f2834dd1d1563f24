"""One role migrates and owns the tables, another runs Airflow: it cannot analyze them, and need not."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta

import pytest
from airflow import settings
from sqlalchemy import text

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from tests.db.acting import clear, now, plan_of, undo, undo_step
from tests.query_plans.history import repeat_run
from tests.support.factories import make_run, set_states, store_dag
from tests.support.query_plan import explaining, work
from tests.support.roles import acting_as
from tests.support.scenes import FAILED_RUN, START, etl_dag

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
MOST_EACH = 300
"""Rows that a step may go through for each task instance, whatever their number."""


@pytest.fixture(autouse=True)
def other_role(session, backend):
    if backend.name != "postgresql":
        pytest.skip("SQLite has no roles")
    for statement in (
        f"CREATE ROLE {ROLE}",
        f"GRANT USAGE ON SCHEMA public TO {ROLE}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
        *(f"ALTER TABLE {name} SET (autovacuum_enabled = off)" for name in TABLES),
    ):
        session.execute(text(statement))
    session.commit()
    yield
    session.rollback()
    for statement in (
        *(f"ALTER TABLE {name} RESET (autovacuum_enabled)" for name in TABLES),
        f"DROP OWNED BY {ROLE}",
        f"DROP ROLE {ROLE}",
    ):
        session.execute(text(statement))
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
    session.execute(text(f"ANALYZE {', '.join(TABLES)}"))
    store_history(session)
    other = work_of_each_step(ROLE)
    assert {name: rows for name, rows in other.items() if rows > 2 * owner[name] + LITTLE} == {}, owner
    assert {name: rows for name, rows in other.items() if rows > MOST_EACH * 3 * RUNS} == {}
