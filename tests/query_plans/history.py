"""A large history: a run that Airflow made, written again and again by the database itself.

It has 200,000 task instances, with ``--full`` a million: so reading a day differs clearly from reading all.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support.factories import make_run, nobody, set_states, store_dag
from tests.support.options import chosen

TASKS, OTHER_RUNS = 50, 1_000
RUNS = 19_000 if chosen.full else 4_000
TASK_INSTANCES = TASKS * RUNS
DAG_ID, OTHER = "large", "beside"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def store_history(session: Session) -> None:
    """Store an hourly DAG of ten chains of five tasks, and another one with fewer runs."""
    # Foreign keys hold by themselves, and indexes are faster made than kept.
    session.execute(text("SET session_replication_role = replica"))
    indexes = _drop_indexes(session)
    for dag_id, runs in ((OTHER, OTHER_RUNS), (DAG_ID, RUNS)):
        with DAG(dag_id, schedule="@hourly", start_date=START, on_failure_callback=nobody) as dag:
            for chain in range(TASKS // 5):
                last: Any = None
                for step in ("extract", "check", "transform", "load", "report"):
                    task = EmptyOperator(
                        task_id=f"{step}_{chain}",
                        retries=2,
                        max_active_tis_per_dag=16,
                        on_failure_callback=nobody,
                        outlets=[Asset(f"table_{chain}")],
                    )
                    if last is not None:
                        last >> task
                    last = task
        store_dag(dag, session=session)
        run = make_run(dag, session=session, logical_date=START, run_id="run_0", run_type="scheduled")
        set_states(run, dict.fromkeys(dag.task_ids, "success"), session=session, start_date=START)
        session.commit()
        repeat_run(dag_id, runs, session)
    for statement in indexes:
        session.execute(text(statement))
    session.execute(text("SET session_replication_role = DEFAULT"))
    session.commit()
    connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    connection.execute(text("VACUUM ANALYZE"))


def _drop_indexes(session: Session) -> list[str]:
    """Drop those that no constraint needs; return the statements that make them again."""
    found = session.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('dag_run', 'task_instance')"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
    ).all()
    for row in found:
        session.execute(text(f'DROP INDEX "{row.indexname}"'))
    return [row.indexdef for row in found]


def repeat_run(dag_id: str, runs: int, session: Session) -> None:
    """Write run_0 and its task instances again, an hour later each; one task in a hundred failed."""
    later = "+ n * interval '1 hour'"
    _insert_again(
        "dag_run",
        {
            "id": None,
            "run_id": "'run_' || n",
            "state": "CASE WHEN n % 5 = 0 THEN 'failed' ELSE 'success' END",
            **{name: f"{name} {later}" for name in ("logical_date", "run_after", "start_date", "end_date")},
        },
        dag_id,
        runs,
        session,
    )
    _insert_again(
        "task_instance",
        {
            "id": "gen_random_uuid()",
            "run_id": "'run_' || n",
            "state": "CASE WHEN n % 5 = 0 AND task_id LIKE '%\\_7' THEN 'failed' ELSE state END",
            "duration": "30 + n % 7",
            **{name: f"{name} {later}" for name in ("start_date", "end_date")},
        },
        dag_id,
        runs,
        session,
    )


def _insert_again(
    table: str, values: dict[str, str | None], dag_id: str, runs: int, session: Session
) -> None:
    of_table = text("SELECT column_name FROM information_schema.columns WHERE table_name = :name")
    columns = {name: values.get(name, name) for name in session.scalars(of_table, {"name": table})}
    again = {name: value for name, value in columns.items() if value}
    session.execute(
        text(
            f"INSERT INTO {table} ({', '.join(again)}) SELECT {', '.join(again.values())}"
            f" FROM {table}, generate_series(1, {runs - 1}) AS n WHERE dag_id = :dag_id AND run_id = 'run_0'"
        ),
        {"dag_id": dag_id},
    )
