"""Look-ups that use an index on either database, and the settings that PostgreSQL plans them with."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance_history as history
from safe_clear_plugin.airflow_api.platform.joins import (
    NESTED_LOOPS,
    exists_of_task,
    hash_joins,
    is_one_of,
    is_same,
    join_runs,
    nested_loops,
    settings_columns,
)
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.support.options import chosen

pytestmark = [pytest.mark.backend, pytest.mark.sqlite]
on_postgresql = pytest.mark.skipif(not chosen.postgresql, reason="SQLite has no such settings")


def query_plan(query, session):
    """Return the lines in which the database says how it would read the query."""
    compiled = query.compile(session.connection())
    named = compiled.construct_params()
    parameters = tuple(named[name] for name in compiled.positiontup) if compiled.positional else named
    explain = "EXPLAIN" if chosen.postgresql else "EXPLAIN QUERY PLAN"
    rows = session.connection().exec_driver_sql(f"{explain} {compiled}", parameters)
    return "\n".join(str(tuple(row)) for row in rows)


def test_values_are_looked_up_in_an_index(session):
    query = select(history.c.task_id).where(
        is_one_of(history.c.task_instance_id, select(plan_task_instance.c.task_instance_id))
    )
    join_runs(session)
    plan = query_plan(query, session)
    sqlite, postgresql = "SEARCH task_instance_history USING INDEX", "Index Cond: (task_instance_id"
    assert (postgresql if chosen.postgresql else sqlite) in plan, plan


def test_a_task_instance_is_looked_up_by_its_whole_key(session):
    rows, ti = plan_task_instance, task_instance
    there = exists_of_task(
        ti,
        "etl",
        ti.c.run_id == rows.c.run_id,
        ti.c.task_id == rows.c.task_id,
        is_same(ti.c.map_index, rows.c.map_index),
    )
    plan = query_plan(select(rows.c.task_id).where(there), session)
    if chosen.postgresql:
        assert "task_instance_composite_key on task_instance" in plan, plan
        assert "map_index >= " in plan, plan
    else:
        assert "(dag_id=? AND task_id=? AND run_id=? AND map_index=?)" in plan, plan


@on_postgresql
def test_settings_hold_from_the_next_statement_on_until_the_transaction_ends(session):
    def loops():
        return session.scalar(text("SELECT current_setting('enable_nestloop')"))

    join_runs(session)
    assert loops() == "off"
    with nested_loops(session):
        assert loops() == "on"
        with hash_joins(session):
            assert loops() == "off"
        assert loops() == "on"
    assert loops() == "off"
    session.execute(select(*settings_columns(NESTED_LOOPS, session)))
    assert loops() == "on"
    join_runs(session)
    session.commit()
    assert loops() == "on"
