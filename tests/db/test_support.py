"""The test helpers themselves, on each backend and each Airflow version."""

from __future__ import annotations

import pytest
from airflow.models.dag_version import DagVersion
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group
from sqlalchemy import create_engine, inspect, select, text

from tests.support import options
from tests.support.factories import FactoryError, expand, make_run, set_states, store_dag, task_instances
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.backend, pytest.mark.airflow32, pytest.mark.sqlite]


@pytest.fixture
def chain() -> DAG:
    with DAG("chain", schedule="@daily", start_date=None) as dag:
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="load", retries=2)
    return dag


@pytest.mark.driver
def test_backend_is_the_one_asked_for(session):
    kind, _, driver = options.chosen.backend.partition("-")
    dialect = session.get_bind().dialect
    assert dialect.name == kind
    assert dialect.driver == (driver or {"sqlite": "pysqlite", "postgresql": "psycopg"}[kind])


def test_migrations_made_every_table(session):
    tables = set(inspect(session.connection()).get_table_names())
    assert {"task_instance", "task_instance_history", "slot_pool", "ab_user"} <= tables


@pytest.mark.parametrize("repeat", [1, 2])
def test_metadata_db_is_wiped_between_tests(session, chain, repeat):
    assert session.scalar(select(TaskInstance.task_id)) is None
    assert session.scalar(text("SELECT pool FROM slot_pool")) == "default_pool"
    store_dag(chain, session=session)
    make_run(chain, session=session)
    session.execute(text("UPDATE slot_pool SET slots = 3"))
    session.commit()


def test_wipe_leaves_a_session_usable(metadata_db, session, chain):
    store_dag(chain, session=session)
    make_run(chain, session=session)
    metadata_db.wipe(session)
    assert session.scalar(select(TaskInstance.task_id)) is None
    store_dag(chain, session=session)
    assert len(task_instances(make_run(chain, session=session), session=session)) == 2


def test_wipe_gets_past_a_transaction_that_was_left_open(metadata_db, session, chain):
    if session.get_bind().dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: Airflow's own sessions would have failed before")
    store_dag(chain, session=session)
    abandoned = metadata_db.engine.raw_connection()
    abandoned.cursor().execute("UPDATE dag SET is_paused = true")
    metadata_db.wipe(session)
    assert session.scalar(text("SELECT count(*) FROM dag")) == 0
    abandoned.invalidate()


def test_run_has_the_task_instances_of_the_dag(session, chain):
    store_dag(chain, session=session)
    run = make_run(chain, session=session, state="failed", task_state="success")
    later = make_run(chain, session=session)
    set_states(run, {"load": "failed"}, session=session, try_number=3)

    assert [(ti.task_id, ti.state, ti.try_number) for ti in task_instances(run, session=session)] == [
        ("extract", "success", 1),
        ("load", "failed", 3),
    ]
    assert run.state == "failed"
    assert (later.logical_date - run.logical_date).days == 1
    assert all(ti.dag_version_id for ti in task_instances(run, session=session))


@pytest.mark.parametrize("run_type", ["manual", "scheduled", "backfill", "asset_triggered"])
def test_run_types(session, chain, run_type):
    store_dag(chain, session=session)
    run = make_run(chain, session=session, run_type=run_type)
    assert run.run_type == run_type
    assert (run.logical_date is None) == (run_type == "asset_triggered")


def test_runs_without_logical_date_or_version(session, chain):
    store_dag(chain, session=session)
    make_run(chain, session=session, logical_date=None)
    run = make_run(chain, session=session, logical_date=None, without_version=True)
    assert run.created_dag_version_id is None
    assert {ti.dag_version_id for ti in task_instances(run, session=session)} == {None}


def test_new_version_only_when_task_instances_refer_to_the_old_one(session, chain):
    store_dag(chain, session=session)
    with pytest.raises(FactoryError, match="no task instance refers"):
        store_dag(chain, session=session, new_version=True)
    session.rollback()

    old = make_run(chain, session=session)
    store_dag(chain, session=session, new_version=True, bundle_version="abc")
    new = make_run(chain, session=session)

    versions = session.scalars(select(DagVersion).order_by(DagVersion.version_number)).all()
    assert [version.id for version in versions] == [old.created_dag_version_id, new.created_dag_version_id]
    assert (old.bundle_version, new.bundle_version) == (None, "abc")


def test_mapped_tasks_and_groups_expand(session):
    with DAG("mapped", schedule=None) as dag:

        @task
        def listing():
            return []

        @task
        def one(value):
            return value

        @task_group
        def group(value):
            one.override(task_id="second")(one.override(task_id="first")(value))

        rows = listing()
        one.expand(value=rows)
        one.override(task_id="literal").expand(value=[1, 2])
        group.expand(value=rows)

    store_dag(dag, session=session)
    run = make_run(dag, session=session, state="running")
    assert [(ti.task_id, ti.map_index) for ti in task_instances(run, session=session)] == [
        ("group.first", -1),
        ("group.second", -1),
        ("listing", -1),
        ("literal", 0),
        ("literal", 1),
        ("one", -1),
    ]

    expand(run, "one", 3, session=session)
    expand(run, "group", 2, session=session)
    assert [(ti.task_id, ti.map_index) for ti in task_instances(run, session=session)] == [
        ("group.first", 0),
        ("group.first", 1),
        ("group.second", 0),
        ("group.second", 1),
        ("listing", -1),
        ("literal", 0),
        ("literal", 1),
        ("one", 0),
        ("one", 1),
        ("one", 2),
    ]
    with pytest.raises(FactoryError, match="map_index -1"):
        expand(run, "one", 3, session=session)


def test_snapshots_show_exactly_what_changed(session, chain):
    store_dag(chain, session=session)
    run = make_run(chain, session=session)
    before = snapshot(session)
    assert diff_snapshots(before, snapshot(session)) == {}

    set_states(run, {"load": "failed"}, session=session)
    difference = diff_snapshots(before, snapshot(session))
    assert list(difference) == ["task_instance"]
    (removed,), (added,) = difference["task_instance"]["removed"], difference["task_instance"]["added"]
    assert (removed["task_id"], removed["state"], added["state"]) == ("load", None, "failed")
    assert diff_snapshots(before, snapshot(session, exclude_tables=["task_instance"])).keys() == {
        "task_instance"
    }


def test_empty_database(empty_database, session):
    engine = create_engine(empty_database())
    assert engine.dialect.name == session.get_bind().dialect.name
    assert inspect(engine).get_table_names() == []
    engine.dispose()
