"""A DAG with a history, then another version of it."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

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
