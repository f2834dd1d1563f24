"""A live scheduler on the metadata database that the tests themselves work on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import HOME
from tests.support.backends import METADATA
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.backends import Backend

DAGS = Path(__file__).parent / "dags"
KEPT_LOGS = REPOSITORY / "test-results" / "fire"


@pytest.fixture(scope="session")
def dags_in_database(airflow_db: None) -> Path:
    """Store the DAGs, and return the folder of their files."""
    from airflow.utils.session import create_session

    from tests.support.dag_files import store_dag_files

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    shutil.copytree(DAGS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    os.environ["SAFE_CLEAR_FIRE_LINES"] = str(HOME / "lines.jsonl")
    with create_session(scoped=False) as session:
        store_dag_files(session)
    return folder


@pytest.fixture(scope="session")
def airflow_server(
    request: pytest.FixtureRequest, backend: Backend, dags_in_database: Path
) -> Iterator[AirflowServer]:
    """Start api-server and scheduler; there is nothing to parse, so no dag processor takes its share."""
    server = AirflowServer(
        backend.url(METADATA),
        DAGS,
        dags_folder=dags_in_database,
        auth="simple",
        AIRFLOW__SAFE_CLEAR__BATCH_SIZE="2",
        # A process whose task instance is cleared as it ends leaves it restarting until this has passed.
        AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="90",
        SAFE_CLEAR_FIRE_LINES=os.environ["SAFE_CLEAR_FIRE_LINES"],
    )
    try:
        server.start(components=("scheduler",))
        yield server
    finally:
        if request.session.testsfailed:
            server.keep_logs(KEPT_LOGS)
        server.stop()
