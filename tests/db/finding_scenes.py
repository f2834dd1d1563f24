"""DAGs and histories for the tests of findings, and how these read a plan."""

from __future__ import annotations

from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from safe_clear_plugin.core.selection import Selection
from tests.db.acting import days
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START


def findings_by_code(plan):
    return {finding.code: finding for finding in plan.findings}


def finding(plan, code):
    """Return the finding with this code, or ``None``."""
    return next((found for found in plan.findings if found.code == code), None)


def one_run(run, **more):
    """Ask for one run, by its id."""
    return Selection(run.dag_id, run_id=(run.run_id,), **more)


def all_days(**more):
    return days(1, 28, **more)


def chain(dag_id, *task_ids, **options):
    """Return a DAG of one task after the other."""
    with DAG(dag_id, schedule=None, start_date=START, **options) as dag:
        before = None
        for task_id in task_ids:
            one = EmptyOperator(task_id=task_id)
            _ = before and before >> one
            before = one
    return dag


def store_with_runs(dag, session, states, *, runs=1, state="failed"):
    """Store a DAG with runs whose task instances are in these states."""
    store_dag(dag, session=session)
    made = [make_run(dag, session=session, run_id=f"run_{n + 1}", state=state) for n in range(runs)]
    for run in made:
        set_states(run, states, session=session)
    return made


def one_task(session, runs=3, *, dag_options=None, state="success", **options):
    """Store ``work``, with a run a day."""
    with DAG("etl", schedule=None, start_date=START, **(dag_options or {})) as dag:
        EmptyOperator(task_id="work", **options)
    store_dag(dag, session=session)
    made = [
        make_run(
            dag, session=session, logical_date=START.replace(day=day), run_id=f"run_{day}", task_state=state
        )
        for day in range(1, runs + 1)
    ]
    return dag, made


def started_by_airflow(session):
    """Return the ids of the queued runs that the scheduler would look at."""
    session.rollback()
    runs = DagRun.get_queued_dag_runs_to_set_running(session).all()
    return {run.run_id for run in runs}


def store(session, dag_id, build, *, runs=0, schedule=None, **options):
    """Store a DAG whose tasks ``build`` makes, with a successful run a day."""
    paused = options.pop("is_paused", False)
    with DAG(dag_id, schedule=schedule, start_date=START, **options) as dag:
        build()
    store_dag(dag, session=session, is_paused=paused)
    for day in range(1, runs + 1):
        make_run(
            dag,
            session=session,
            logical_date=START.replace(day=day),
            run_id=f"run_{day}",
            task_state="success",
        )
    return dag


def etl(session, build, *, runs=2, **options):
    return store(session, "etl", build, runs=runs, **options)


def work(**options):
    return lambda: EmptyOperator(task_id="work", **options)


def add_backfill(session, runs, **options):
    """Make a backfill of the DAG ``etl`` with these runs."""
    made = Backfill(dag_id="etl", from_date=START, to_date=START, dag_run_conf={}, **options)
    session.add(made)
    session.flush()
    for ordinal, run in enumerate(runs, 1):
        run.backfill_id = made.id
        session.add(
            BackfillDagRun(
                backfill_id=made.id, dag_run_id=run.id, sort_ordinal=ordinal, logical_date=run.logical_date
            )
        )
    session.commit()
    return made
