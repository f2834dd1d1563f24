"""Makes a metadata database with users, DAGs and failed runs; run with the environment of a test server."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.utils.session import create_session

from tests.support import prepare_server
from tests.support.dag_files import store_dag_files
from tests.support.factories import make_run, set_states

FIRST_DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
SET_DAYS = range(260, 300)
"""Days on which two DAGs have a run."""
RUNS = {"cli_etl": range(300), "cli_report": SET_DAYS, "cli_locked": range(1)}
FAILED = {"load": "failed", "report": "upstream_failed"}


def main() -> None:
    """Give each DAG its days: `load` failed, and so `report` did not run."""
    prepare_server.main()
    with create_session(scoped=False) as session:
        store_dag_files(session)
        for dag_id, days in RUNS.items():
            for day in days:
                run = make_run(
                    dag_id,
                    session=session,
                    logical_date=FIRST_DAY + timedelta(days=day),
                    run_type="scheduled",
                    state="failed",
                    task_state="success",
                )
                set_states(run, FAILED, session=session)


if __name__ == "__main__":
    main()
