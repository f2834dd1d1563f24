"""A real Airflow on PostgreSQL, and Debian's Chromium to use it with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.postgres import PostgresqlServer
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAGS = Path(__file__).parent / "dags"
# DAG ids and how many dag runs the scheduler's catch-up makes of each.
RUNS = {"e2e_team_a": 4, "e2e_team_b": 1}
KEPT_LOGS = REPOSITORY / "test-results" / "airflow"


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Use the browser of the distribution; the suite downloads none."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.fail("chromium is missing: run `make system`")
    return {
        **browser_type_launch_args,
        "executable_path": chromium,
        "args": [
            # Chromium's sandbox does not start as root or in an unprivileged container.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Start a PostgreSQL server for the metadata databases of Airflow servers."""
    server = PostgresqlServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def make_airflow_server(
    request: pytest.FixtureRequest, postgresql_server: PostgresqlServer
) -> Iterator[Callable[..., AirflowServer]]:
    """Return a function that prepares one more Airflow (``prefix="/af"``, …); the caller starts it.

    Each has a database of its own. All are stopped at the end of the session; logs are kept if a test failed.
    """
    servers: list[AirflowServer] = []

    def make(**options: Any) -> AirflowServer:
        url = postgresql_server.create_database(f"airflow_{len(servers)}")
        servers.append(AirflowServer(url, options.pop("dags", DAGS), **options))
        return servers[-1]

    try:
        yield make
    finally:
        for number, server in enumerate(servers):
            if request.session.testsfailed:
                server.keep_logs(KEPT_LOGS / str(number))
            server.stop()


@pytest.fixture(scope="session")
def airflow_server(make_airflow_server: Callable[..., AirflowServer]) -> AirflowServer:
    """Start Airflow and wait until its scheduler has run the history of the DAGs to success."""
    server = make_airflow_server()
    server.start(dag_ids=tuple(RUNS))
    for dag_id, count in RUNS.items():
        server.wait_for_runs(dag_id, count)
    return server
