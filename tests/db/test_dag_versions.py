"""Runs of many DAG versions in one plan: what it says is right, and costs a version little."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task
from sqlalchemy import event, func, insert, select, update

from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan_filters import EVERY_ROW
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning import resolution
from safe_clear_plugin.storage import tables
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.findings.affected_queries import AFFECTED_QUERIES
from safe_clear_plugin.storage.plans import plan_reader, plan_rows, statistics
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task, plan_task_instance
from tests.db.acting import clear, plan_of
from tests.support.factories import FIRST_DATE, expand, make_run, set_states, store_dag
from tests.support.options import each_in_turn
from tests.support.query_plan import explaining, nodes, rows_read, summarize
from tests.support.statements import statements
from tests.support.versions import alike, chains, different, store_versions

pytestmark = pytest.mark.backend

FAILED = {"step_1": "failed", "step_2": "upstream_failed", "step_3": "skipped"}


def count_rows(plan, session):
    """Return how many rows of its tasks a plan has, and of how these are related."""
    session.rollback()
    return tuple(
        session.scalar(select(func.count()).where(table.c.plan_id == UUID(plan.id)))
        for table in (plan_task, plan_relation)
    )


def preview(run_ids, session, **selection):
    """Return a plan over the runs, and the statements that it took."""
    with statements(session) as sent:
        plan = plan_of(Selection("chains", run_id=tuple(run_ids), **selection))
    # PostgreSQL is told how large a plan is only where that matters.
    return plan, sum("ANALYZE" not in one and "pg_stat" not in one for one in sent)


@pytest.mark.one_database
@pytest.mark.parametrize(
    "selection",
    [{"task_regex": "^step_0$"}, {"task_regex": "^step_[13]$"}, {"task_regex": "^step_2$|^only_"}, {}],
    ids=["one task", "two tasks", "a task of each version", "whole runs"],
)
@pytest.mark.parametrize("make", [alike, different])
def test_twice_the_versions_take_no_more_statements_and_rows_by_shape(session, make, selection):
    run_ids = store_versions(make, 40, session, states=FAILED)
    few, of_few = preview(run_ids[:20], session, **selection)
    many, of_many = preview(run_ids, session, **selection)
    assert of_many <= of_few
    expected = 1 if make is alike else 2
    assert count_rows(many, session) == tuple(expected * rows for rows in count_rows(few, session))


@pytest.mark.one_database
def test_versions_of_one_shape_share_their_rows(session):
    run_ids = store_versions(alike, 20, session, states=FAILED)
    plan, _ = preview(run_ids, session, task_regex="^step_0$")
    # Downstream of it step_1, step_2 and step_3 stay as they are, and step_4 goes stale.
    assert count_rows(plan, session) == (1, 4)
    shapes = select(plan_run.c.shape).where(plan_run.c.plan_id == UUID(plan.id))
    assert set(session.scalars(shapes)) == {0}


def said_of(plan, session):
    """Return what is foreseen and what is behind the findings, by run, task and map index."""
    session.rollback()
    rows = plan_task_instance
    found = Counter(
        (row.run_id, row.task_id, row.map_index, row.why, row.after_max_tries, row.foreseen_state)
        for row in session.execute(select(rows).where(rows.c.plan_id == UUID(plan.id)))
    )
    for code in AFFECTED_QUERIES:
        behind = affected_task_instances.affected_rows(code, UUID(plan.id), plan.dag_id, session, limit=1_000)
        # The others count dag runs, or have no list in this plan.
        counted = sum(one.count for one in plan.findings if one.code == code and one.rows)
        assert code in ("runs_fail", "fail_fast") or len(behind) == counted, code
        found.update((code, row.run_id, row.task_id, row.map_index, row.related_task_id) for row in behind)
    return found


def circle(number):
    """Return versions of which each has an order, and all together have none."""
    pairs = ("ab", "bc"), ("bc", "ca"), ("ca", "ab")
    with DAG("chains", schedule=None, start_date=FIRST_DATE, doc_md=f"version {number}") as dag:
        start = EmptyOperator(task_id="step_1")
        made = {name: EmptyOperator(task_id=f"step_{name}") for name in "abc"}
        for first, second in pairs[number % 3]:
            made[first] >> made[second]
        start >> made[pairs[number % 3][0][0]]
    return dag


def evolving(number):
    """Return versions that gain and lose tasks, change a rule or a number of retries, or only their text."""
    dag = chains(doc=f"version {number}", tasks=5 + number % 3, last=f"only_{number // 4}")
    if number % 5 == 4:
        dag.task_dict["step_4"].trigger_rule = "all_done"
    if number % 7 == 6:
        dag.task_dict["step_0"].retries = 5
    return dag


SOME_TASKS = {
    "some": {"task_regex": "^step_[02a]$"},
    "downstream": {"task_regex": "^step_1$", "include_downstream": True},
    "behind a failure": {"task_regex": "^step_[23bc]$"},
    "successes": {"state": ("success",)},
}


@pytest.mark.parametrize(("make", "some"), each_in_turn([circle, evolving, different], list(SOME_TASKS)))
def test_a_plan_of_many_versions_says_what_a_plan_of_each_run_says(session, make, some):
    selection = SOME_TASKS[some]
    run_ids = store_versions(make, 12, session, states=FAILED)
    together = said_of(plan_of(Selection("chains", run_id=tuple(run_ids), **selection)), session)
    alone: Counter = Counter()
    for run_id in run_ids:
        alone.update(said_of(plan_of(Selection("chains", run_id=(run_id,), **selection)), session))
    assert together == alone


def test_mapped_tasks_of_several_versions_follow_their_own_version(session):
    for version, depends in (("1", True), ("2", False), ("3", True)):
        with DAG("chains", schedule=None, start_date=FIRST_DATE) as dag:

            @task
            def made():
                return [1, 2]

            @task
            def used(value):
                return value

            after = EmptyOperator(task_id="after")
            mapped = used.expand(value=made())
            if depends:
                mapped >> after
        store_dag(dag, session=session, bundle_version=version, new_version=version != "1")
        run = make_run(dag, session=session, run_id=version, bundle_version=version)
        expand(run, "used", 2, session=session)
        set_states(run, dict.fromkeys(("made", "used", "after"), "success"), session=session)
    plan = plan_of(Selection("chains", task_regex="^used$", run_id=("1", "2", "3")))
    stale = affected_task_instances.affected_rows("stale_downstream", UUID(plan.id), "chains", session)
    assert [(row.run_id, row.task_id) for row in stale] == [("1", "after"), ("3", "after")]


def test_a_plan_of_many_versions_is_cleared_as_shown(session):
    run_ids = store_versions(evolving, 12, session, states=FAILED)
    plan = clear(Selection("chains", run_id=tuple(run_ids), task_regex="^step_1$"))
    assert (plan.cleared, plan.status) == (12, "applied")


def test_a_run_of_another_version_that_comes_meanwhile_is_taken_in(session, monkeypatch):
    run_ids = store_versions(different, 6, session, states=FAILED)
    selection = Selection("chains", run_id=tuple(run_ids), task_regex="^step_0$")
    expected = said_of(plan_of(selection), session)
    real = resolution.select_runs.used_versions

    def before_the_last_two(*args):
        return sorted(real(*args))[:-2]

    monkeypatch.setattr(resolution.select_runs, "used_versions", before_the_last_two)
    plan = plan_of(selection)
    assert said_of(plan, session) == expected
    assert len(plan.dag_versions) == 6


def test_more_versions_than_a_plan_takes_are_refused_before_any_is_read(session):
    """Versions and runs alone: a serialized DAG of theirs is not asked for."""
    store_versions(alike, 1, session)
    version = dict(session.execute(select(DagVersion.__table__)).mappings().one())
    run = dict(session.execute(select(DagRun.__table__)).mappings().one())
    session.execute(update(DagVersion.__table__).values(version_number=10_000))
    before = version["created_at"] - timedelta(days=1)
    versions = [
        {**version, "id": uuid4(), "version_number": number, "created_at": before}
        for number in range(2, resolution.MAX_VERSIONS + 2)
    ]
    session.execute(insert(DagVersion.__table__), versions)
    runs = [
        {**run, "id": run["id"] + number, "run_id": f"more_{number}"}
        | {"created_dag_version_id": one["id"], "logical_date": None}
        for number, one in enumerate(versions, 1)
    ]
    session.execute(insert(DagRun.__table__), runs)
    session.commit()
    selection = Selection("chains", date_field="run_after", date_from=FIRST_DATE)
    with statements(session) as sent, pytest.raises(Invalid) as refused:
        plan_of(selection)
    assert sum("serialized_dag.dag_version_id IN" in statement for statement in sent) == 1
    assert not any(statement.startswith("INSERT") for statement in sent)
    [problem] = refused.value.problems
    assert problem.reason == "The dag runs use 1,001 Dag versions. A plan can have 1,000 at most."
    assert problem.field == "date_from"
    assert session.scalar(select(func.count()).select_from(tables.plan)) == 0
    plan = plan_of(
        Selection("chains", date_field="run_after", date_from=FIRST_DATE, run_on_latest_version=True)
    )
    assert plan.dag_runs == 1


def test_as_many_versions_as_a_plan_takes_are_compared_in_one_statement(session):
    store_versions(alike, 3, session)
    rows = session.execute(select(DagVersion.id, DagVersion.version_number)).all()
    there = dag_versions.load_versions([row.id for row in rows], session).values()
    known = [version.to_json(None) for version in there]
    gone = [{"id": str(uuid4()), "number": n, "hash": "x"} for n in range(resolution.MAX_VERSIONS - 3)]
    rewritten = [{**known[0], "hash": "another"}]
    same = dag_versions.unchanged_versions([*known[1:], *gone, *rewritten])
    assert session.scalar(select(same)) == 2


def test_what_is_read_is_read_before_anything_is_written(session):
    """SQLite has one writer: from the first row on nobody else can write."""
    run_ids = store_versions(different, 10, session, states=FAILED)
    with statements(session) as sent:
        plan_of(Selection("chains", run_id=tuple(run_ids), task_regex="^step_0$"))
    writes = [n for n, statement in enumerate(sent) if statement.startswith("INSERT INTO safe_clear_plan ")]
    reads = [n for n, statement in enumerate(sent) if "serialized_dag.dag_version_id IN" in statement]
    assert reads
    assert max(reads) < writes[0]


@pytest.mark.one_database
def test_the_finding_of_many_older_versions_is_short(session):
    run_ids = store_versions(alike, 30, session)
    plan = plan_of(Selection("chains", run_id=tuple(run_ids), task_regex="^step_0$"))
    found = next(one for one in plan.findings if one.code == "dag_version")
    assert found.title == "29 runs use 29 versions from 1 to 29: the latest is 30"
    assert found.count == 29
    assert found.detail.endswith("26 more versions are not compared here.")


def _fill_and_empty(session):
    """Leave small tables with large indexes, as removed plans do."""
    plan_id, many = uuid4(), "FROM generate_series(1, 100000) AS n"
    filled = (
        "INSERT INTO safe_clear_plan_task_instance (plan_id, run_id, task_id, map_index, effect, why) "
        f"SELECT '{plan_id}', 'run_' || n, 'task', -1, 'clear', '' {many}",
        f"INSERT INTO safe_clear_plan_relation SELECT '{plan_id}', n, 'task', 'upstream', 'other' {many}",
    )
    emptied = [
        f"{what} {table}"
        for table in (plan_task_instance, plan_relation)
        for what in ("DELETE FROM", "VACUUM")
    ]
    with session.get_bind().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in (*filled, *emptied):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("RESET session_replication_role")


def _prepare_for_any_plan(connection):
    """As on a connection that has sent the same statements often, if PostgreSQL rates the plans alike."""
    connection.connection.driver_connection.prepare_threshold = 0
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")


@pytest.fixture
def without_statistics(request, session, backend, monkeypatch):
    """As for a role that does not own the tables: its ANALYZE does nothing."""
    if backend.name != "postgresql":
        pytest.skip("only PostgreSQL plans by statistics that somebody must gather")
    names = [table.name for table in tables.metadata.sorted_tables]
    for name in names:
        session.connection().exec_driver_sql(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
    session.commit()
    if request.param == "analyzed after plans were removed":
        _fill_and_empty(session)
    if request.param != "never analyzed":
        run_ids = store_versions(lambda _: chains("other"), 1, session)
        plan_of(Selection("other", run_id=tuple(run_ids)))
        for name in names:
            session.connection().exec_driver_sql(f"ANALYZE {name}")
        session.commit()
    monkeypatch.setattr(statistics, "_analyze", lambda *_: None)
    engine = session.get_bind()
    event.listen(engine, "begin", _prepare_for_any_plan)
    yield
    event.remove(engine, "begin", _prepare_for_any_plan)
    session.rollback()
    for name in names:
        session.connection().exec_driver_sql(f"ALTER TABLE {name} RESET (autovacuum_enabled)")
    session.commit()


@pytest.mark.parametrize(
    ("without_statistics", "regex"),
    [
        ("never analyzed", ""),
        ("never analyzed", "[0246]$"),
        ("analyzed when almost empty", "[0246]$"),
        ("analyzed after plans were removed", "[0246]$"),
    ],
    indirect=["without_statistics"],
)
@pytest.mark.usefixtures("without_statistics")
def test_without_statistics_no_table_is_read_once_for_each_row(session, regex):
    from airflow import settings

    run_ids = store_versions(lambda number: different(number, length=10), 240, session, states={})
    for table in ("dag_run", "task_instance", "dag_version", "serialized_dag"):
        session.connection().exec_driver_sql(f"ANALYZE {table}")
    session.commit()
    session.close()
    with explaining(settings.engine) as found:
        plan = plan_of(Selection("chains", run_id=tuple(run_ids), task_regex=regex))
        with new_session() as reading:
            for sort in ("", "task"):
                plan_rows.rows(UUID(plan.id), EVERY_ROW, sort, reading, limit=50)
            plan_reader.task_instances(UUID(plan.id), EVERY_ROW, reading)
    scans = [
        (rows_read(node), summarize(node), one["Query Text"]) for one in found for node in nodes(one["Plan"])
    ]
    most = max(scans)
    # Each of 240 runs has 11 task instances. A table of a few pages may well be gone through for each: of
    # those PostgreSQL knows the pages, whatever its statistics say.
    # To go through a plan's rows once for each of its runs takes 240 * 1,056 at least.
    assert most[0] <= 40 * 240 * 11, most
