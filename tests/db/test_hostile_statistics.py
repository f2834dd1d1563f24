"""A clear and its undo cost what is in the plan, whatever the database takes its tables for.

Only the owner of the tables can analyze them: PostgreSQL may have no statistics, or statistics of other rows.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from airflow import settings
from airflow.providers.standard.operators.empty import EmptyOperator
from sqlalchemy import event, text

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance_history as history
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan_filters import EVERY_ROW
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.waves import Pace, Waves
from safe_clear_plugin.services import grid, receipt
from safe_clear_plugin.services.clear import rerun_progress, waves
from safe_clear_plugin.services.undo.undo_preview import counting_session, preview_undo
from safe_clear_plugin.storage.clear import reruns
from safe_clear_plugin.storage.plans import plan_reader, plan_rows
from tests.db.acting import clear, confirm, days, drive, now, plan_of, undo, undo_step
from tests.query_plans.history import repeat_run
from tests.support.factories import make_run, set_states, store_dag
from tests.support.options import chosen
from tests.support.query_plan import empty_pages_and_statistics, explaining, nodes, rows_read, summarize, work
from tests.support.roles import acting_as, role_without_tables
from tests.support.scenes import FAILED_RUN, START, etl_dag, store_etl

pytestmark = pytest.mark.backend
on_postgresql = pytest.mark.skipif(not chosen.postgresql, reason="SQLite plans without statistics")
on_sqlite = pytest.mark.skipif(chosen.postgresql, reason="SQLite says which tables it scans")

ROLE = "owns_nothing"
RUNS, PLANNED_RUNS, OTHER_RUNS = 1_000, 220, 200
PLANNED = 3 * PLANNED_RUNS
SIZES = {"none": "reltuples = -1, relpages = 0", "of empty tables": "reltuples = 0, relpages = 1"}
"""What PostgreSQL keeps of a table that nobody has looked at, and of one whose rows were all deleted."""
MAX_EACH = 40
"""Rows that a statement may go through for each task instance that the plan clears."""


LARGE = ("dag_run", "task_instance", "task_instance_history", "task_reschedule", "log", "xcom")
"""Airflow's tables that grow with the history. Of deadlines it has no index by dag run."""


def store_new_version(session):
    """Store a version with one more task, which the scheduler creates in the cleared runs."""
    dag = etl_dag()
    with dag:
        EmptyOperator(task_id="report")
    store_dag(dag, session=session, new_version=True)


def store_history(dag_id, runs, session):
    """Store hourly runs, and what belongs to each task instance: a reschedule, a log row, an earlier try."""
    dag = etl_dag(dag_id)
    store_dag(dag, session=session)
    run = make_run(dag, session=session, logical_date=START, run_id="run_0", state="failed")
    set_states(run, FAILED_RUN, session=session, start_date=START)
    session.commit()
    repeat_run(dag_id, runs, session)
    of_both = {column.name for column in history.c} & {column.name for column in task_instance.c}
    names = ", ".join(sorted(of_both - {"try_number"}))
    for table, columns, values in (
        (
            "task_reschedule",
            "ti_id, start_date, end_date, duration, reschedule_date",
            "id, start_date, start_date, 0, start_date",
        ),
        (
            "log",
            "dttm, event, dag_id, task_id, run_id, map_index",
            "now(), 'running', dag_id, task_id, run_id, map_index",
        ),
        (
            "task_instance_history",
            f"task_instance_id, try_number, {names}",
            f"gen_random_uuid(), try_number - 1, {names}",
        ),
    ):
        insert = f"INSERT INTO {table} ({columns}) SELECT {values} FROM task_instance WHERE dag_id = :dag_id"
        session.execute(text(insert), {"dag_id": dag_id})
    session.commit()


def hours(dag_id, runs, first=0):
    start = START + timedelta(hours=first)
    return Selection(dag_id, date_from=start, date_to=start + timedelta(hours=runs - 1))


@contextmanager
def without_autovacuum(session):
    tables = session.scalars(
        text("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
    ).all()

    def alter(action):
        session.rollback()
        for table in tables:
            session.execute(text(f"ALTER TABLE {table} {action}"))
        session.commit()

    alter("SET (autovacuum_enabled = off)")
    try:
        yield
    finally:
        alter("RESET (autovacuum_enabled)")


@pytest.fixture
def statistics(request, session):
    """Fill the database, and let PostgreSQL know nothing of it, or what was there before."""
    with without_autovacuum(session), role_without_tables(ROLE, session):
        empty_pages_and_statistics()
        if request.param == "of other data":
            store_history("other", OTHER_RUNS, session)
            clear(hours("other", OTHER_RUNS // 2))
            session.execute(text("ANALYZE"))
        store_history("etl", RUNS, session)
        store_new_version(session)
        if size := SIZES.get(request.param):
            session.execute(text(f"UPDATE pg_class SET {size} WHERE oid >= 16384"))
        session.commit()
        yield


def steps(selection):
    """Preview, clear in waves, and undo, with the pages in between; yield the name of each step after it."""
    plan = plan_of(selection)
    cleared, runs, plan_id = plan.task_instances, plan.dag_runs, UUID(plan.id)
    yield "preview"
    with new_session() as session:
        assert plan_reader.task_instances(plan_id, EVERY_ROW, session)
        assert plan_rows.rows(plan_id, EVERY_ROW, "", session, limit=100)
        assert grid.build(plan, grid.Question(), session)
    yield "page of the plan"
    plan = drive(confirm(plan, pace=Pace(Waves(at_most_runs=runs))).id)
    assert plan.cleared == cleared
    yield "clear"
    with new_session() as session:
        assert rerun_progress.progress(plan, now(), session).total == cleared
        assert rerun_progress.conflicting_clears(plan, session) == []
        assert waves.wave_progress(plan, session).counts.running_again == runs
        assert reruns.failed_runs(plan_id, plan.dag_id, session, limit=5, tasks=5) == []
        assert grid.build(plan, grid.Question(live=True), session)
    yield "progress"
    assert preview_undo(plan, now()).put_back == cleared
    with counting_session() as session:
        assert grid.build(plan, grid.Question(live=True, restorable=True), session)
    yield "preview of the undo"
    with new_session() as session:
        run, *_ = plan_reader.runs(plan_id, session, limit=1)
    plan = undo(undo_step(plan, run.run_id))
    assert (plan.put_back, plan.stayed) == (cleared, 0)
    yield "undo"
    with new_session() as session:
        assert receipt.not_restored_rows(plan, session, limit=100) == []
    yield "receipt"


@on_postgresql
@pytest.mark.parametrize("statistics", ["of empty tables", "of other data"], indirect=True)
def test_statistics_of_what_was_there_before(statistics):
    check_rows()


@on_postgresql
@pytest.mark.parametrize("statistics", ["none"], indirect=True)
def test_no_statistics(statistics):
    check_rows()


def check_rows():
    """Check that no statement of any step goes through more rows than the plan accounts for."""
    too_many = []
    with explaining(settings.engine) as found, acting_as(ROLE):
        for step in steps(hours("etl", PLANNED_RUNS, RUNS // 2)):
            most = max(found, key=lambda one: work(one["Plan"]))
            if work(most["Plan"]) > MAX_EACH * PLANNED:
                too_many.append((step, work(most["Plan"])))
                print(step, most["Query Text"], *map(_described, nodes(most["Plan"])), sep="\n")
            found.clear()
    assert too_many == []


def _described(node):
    return f"{rows_read(node):.0f} rows: {summarize(node)}"


@contextmanager
def scans(session):
    """Collect the statements that scan one of Airflow's large tables on SQLite."""
    sent, found = {}, []

    def note(connection, cursor, statement, parameters, context, executemany):
        sent[statement] = parameters[0] if executemany else parameters

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)
    for statement, parameters in sent.items():
        if statement.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            names = {alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", statement)}
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            scanned = {row[3].split()[1] for row in plan if row[3].startswith("SCAN ")}
            if scanned & {*LARGE, *(alias for alias, table in names.items() if table in LARGE)}:
                found.append((sorted(scanned), statement))


@on_sqlite
def test_no_table_of_airflow_is_scanned(session):
    store_etl(session, runs=5)
    store_new_version(session)
    with scans(session) as found:
        assert list(steps(days(1, 4)))
    assert found == []
