"""The command line as a process of its own, against a running api-server."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.proxy import Proxy
from tests.cli.running import SafeClear
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAGS = Path(__file__).parent / "dags"
KEPT_LOGS = REPOSITORY / "test-results" / "airflow-cli"
OPTIONS = {
    # A batch for each dag run of three task instances.
    "BATCH_SIZE": "3",
    "CONFIRM_ABOVE": "12",
    "APPROVE_ABOVE": "30",
    "PROTECTED": "cli_locked:",
}


@pytest.fixture(scope="session")
def airflow_server(request: pytest.FixtureRequest) -> Iterator[AirflowServer]:
    """Start an api-server below a path, on SQLite; what is cleared stays as the clear leaves it."""
    with tempfile.TemporaryDirectory(prefix="safe-clear-cli-") as folder:
        options = {f"AIRFLOW__SAFE_CLEAR__{name}": value for name, value in OPTIONS.items()}
        server = AirflowServer(f"sqlite:///{folder}/airflow.db", DAGS, prefix="/af", **options)
        try:
            server.prepare("tests.cli.prepare")
            server.start(())
            yield server
        finally:
            if request.session.testsfailed:
                server.keep_logs(KEPT_LOGS)
            server.stop()


@pytest.fixture
def safe_clear(airflow_server: AirflowServer, tmp_path: Path) -> SafeClear:
    """Return the command line of the admin, whose working directory is the test's."""
    return SafeClear(
        tmp_path,
        SAFE_CLEAR_SERVER=airflow_server.url,
        SAFE_CLEAR_TOKEN=airflow_server.token("admin"),
    )


_days = itertools.count()


@pytest.fixture
def new_days() -> Callable[[int], list[str]]:
    """Return a function that gives days with a failed dag run which no other test uses."""
    from tests.cli.prepare import FIRST_DAY

    def take(number: int = 1) -> list[str]:
        return [f"{FIRST_DAY + timedelta(days=next(_days)):%Y-%m-%d}" for _ in range(number)]

    return take


@pytest.fixture
def make_proxy(airflow_server: AirflowServer) -> Iterator[Callable[..., Proxy]]:
    """Return a function that puts a proxy before the api-server."""
    with ExitStack() as stack:

        def make(**options: Any) -> Proxy:
            return stack.enter_context(Proxy(airflow_server.url, **options))

        yield make
