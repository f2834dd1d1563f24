"""A live Airflow on which every scene has been cleared, and whatever can end has ended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.backends import METADATA
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.scheduler.stage import Stage
    from tests.support.backends import Backend

DAGS = Path(__file__).parent / "dags"
KEPT_LOGS = REPOSITORY / "test-results" / "live"


@pytest.fixture(scope="session")
def dags_folder(airflow_db: None) -> Path:
    """Store the DAGs and write the past of every scene; return the folder of the DAG files."""
    from tests.scheduler.scenes import write_past

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    shutil.copytree(DAGS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    write_past(folder)
    return folder


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, backend: Backend, dags_folder: Path) -> Iterator[Stage]:
    """Start api-server and scheduler, and play; the DAGs are stored, so no dag processor takes its share."""
    from tests.scheduler.scenes import SCENES
    from tests.scheduler.stage import Stage

    server = AirflowServer(
        backend.url(METADATA),
        DAGS,
        dags_folder=dags_folder,
        auth="simple",
        # Most of what these tasks do is sleep.
        AIRFLOW__CORE__PARALLELISM="4",
    )
    try:
        server.start(components=("scheduler",))
        stage = Stage(server, SCENES)
        stage.play()
        yield stage
    finally:
        if request.session.testsfailed:
            server.keep_logs(KEPT_LOGS)
        server.stop()
