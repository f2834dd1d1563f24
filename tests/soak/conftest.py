"""A live scheduler on the metadata database that the tests themselves work on.

With ``--executor celery``, two schedulers and a Celery worker.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import HOME
from tests.support import redis
from tests.support.backends import METADATA
from tests.support.options import chosen
from tests.support.redis import RedisServer
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
def executor_settings() -> Iterator[dict[str, str]]:
    """Return what Airflow needs to know of the executor, and have its broker run."""
    if chosen.executor == "local":
        yield {}
        return
    pytest.importorskip("airflow.providers.celery", reason="run `uv sync --group celery`")
    if not redis.program():
        pytest.skip("no Redis: run `scripts/system-packages full`")
    broker = RedisServer()
    try:
        broker.start()
        yield {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": broker.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": broker.url,
            # Two processes on two cores are not to be looked for over the network.
            "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
        }
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def airflow_server(
    request: pytest.FixtureRequest,
    backend: Backend,
    dags_in_database: Path,
    executor_settings: dict[str, str],
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
        **executor_settings,
    )
    components = ("scheduler", "scheduler 2", "celery worker") if executor_settings else ("scheduler",)
    try:
        server.start(components=components)
        yield server
    finally:
        if request.session.testsfailed:
            server.keep_logs(KEPT_LOGS)
        server.stop()
