"""A DAG with a history, then another version of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import time_machine
from airflow.models.dag_version import DagVersion
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from sqlalchemy import func, select

from safe_clear_plugin.core.selection import Selection
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START

RUNS = ("run_1", "run_2", "run_3")


def task(task_id, *upstream, **options):
    """Return a task that does nothing."""
    made = EmptyOperator(task_id=task_id, **options)
    for other in upstream:
        _ = other >> made
    return made


def mapped(task_id, length, *upstream, **options):
    """Return a task that is mapped over literals."""
    made = EmptyOperator.partial(task_id=task_id, **options).expand(doc_md=[str(n) for n in range(length)])
    for other in upstream:
        _ = other >> made
    return made


def over(task_id, source):
    """Return a task that is mapped over what another returns."""
    return EmptyOperator.partial(task_id=task_id).expand(doc_md=source.output)


def dag_of(build, **options):
    """Return the DAG with the tasks that ``build`` makes."""
    with DAG("etl", schedule=None, start_date=START, **options) as dag:
        build()
    return dag


def a_b():
    """Make ``a >> b``."""
    task("b", task("a"))


def store_history(session, old, new=None, *, runs=RUNS, bundle_version=None, run_state="success", **options):
    """Store a DAG with successful runs, then another version of it; return the runs."""
    dag = dag_of(old)
    store_dag(dag, session=session, bundle_version=bundle_version)
    made = [
        make_run(
            dag,
            session=session,
            run_id=run_id,
            logical_date=START.replace(day=day),
            state=run_state,
            task_state="success",
            bundle_version=bundle_version,
        )
        for day, run_id in enumerate(runs, 1)
    ]
    if new is not None:
        store_dag(dag_of(new, **options), session=session, bundle_version=bundle_version)
    return made


def of(*task_ids, **options):
    """Select tasks in all runs."""
    return Selection("etl", task_regex=f"^({'|'.join(task_ids)})$", date_from=START, date_to=None, **options)


def parse(session, build=a_b, **options):
    """Parse the DAG's file once more; its version is another one if the options are."""
    store_dag(dag_of(build, **options), session=session)
    session.rollback()


def versions(session):
    """Return how many versions the DAG has."""
    session.rollback()
    return session.scalar(select(func.count()).select_from(DagVersion))


def parse_and_run(session, parses, *, apart, build=a_b, **options):
    """Parse the DAG's file as often as asked, each time another text; after each parse a run uses it.

    The first version is a day older.
    """
    begin = datetime.now(timezone.utc) - apart * parses
    with time_machine.travel(begin - timedelta(days=1), tick=False):
        store_history(session, build)
    for number in range(parses):
        with time_machine.travel(begin + apart * number, tick=False):
            parse(session, build, doc_md=f"parse {number}", **options)
        if number < parses - 1:
            make_run(dag_of(build), session=session, run_id=f"of_parse_{number}", task_state="success")
