"""A real Airflow on PostgreSQL, and Debian's Chromium to use it with."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine

from tests.support.postgres import PostgresqlServer
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page
    from sqlalchemy import Connection

DAGS = Path(__file__).parent / "dags"
DAG_IDS = ("e2e_orders", "e2e_changing", "e2e_team_b")
EMPTY = "template0"
HISTORY = "history"
# What is waited for comes within a second on a quiet machine; a busy one takes its time.
PATIENCE = 60_000
"""Milliseconds that a page has to answer, with other suites beside this one."""
expect.set_options(timeout=PATIENCE)
KEPT_LOGS = REPOSITORY / "test-results" / "airflow"


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Use the browser of the distribution, if possible the one without what only a window needs."""
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
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
    """Return a function that lays out one more Airflow (``prefix="/af"``, ``auth="simple"``, …).

    Each has a database of its own, empty or a copy of ``template``; the caller prepares and starts it. All
    are stopped at the end of the session; logs are kept if a test failed.
    """
    servers: list[AirflowServer] = []

    def make(
        *, database: str = "", template: str = EMPTY, dags: Path = DAGS, **options: Any
    ) -> AirflowServer:
        url = postgresql_server.create_database(database or f"airflow_{len(servers)}", template)
        servers.append(AirflowServer(url, dags, **options))
        return servers[-1]

    def end(number: int) -> None:
        if request.session.testsfailed:
            servers[number].keep_logs(KEPT_LOGS / str(number))
        servers[number].stop()

    try:
        yield make
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(end, range(len(servers))))


@pytest.fixture(scope="session")
def history(make_airflow_server: Callable[..., AirflowServer]) -> AirflowServer:
    """Make the database that every server starts from a copy of: users, DAGs and their past."""
    server = make_airflow_server(database=HISTORY)
    server.prepare("tests.browser.prepare", "end_to_end")
    return server


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest,
    make_airflow_server: Callable[..., AirflowServer],
    history: AirflowServer,
) -> dict[str, AirflowServer]:
    """Start those of the servers below that this session's tests use, together: each takes its time."""
    options: dict[str, dict[str, Any]] = {
        # A DAG in another folder is another version of the DAG.
        "airflow_server": {"dags_folder": history.dags_folder},
        "prefixed_server": {"prefix": "/af"},
        "simple_server": {"auth": "simple"},
    }
    components = {"airflow_server": ("scheduler", "dag-processor")}
    used = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    servers = {}
    for name in (name for name in options if name in used):
        servers[name] = make_airflow_server(template=HISTORY, **options[name])
        servers[name].launch(components.get(name, ()))
    for name, server in servers.items():
        server.wait_until_up(components.get(name, ()), DAG_IDS)
    return servers


@pytest.fixture(scope="session")
def airflow_server(servers: dict[str, AirflowServer]) -> AirflowServer:
    """Return all of Airflow: what is cleared here runs again."""
    return servers["airflow_server"]


@pytest.fixture(scope="session")
def prefixed_server(servers: dict[str, AirflowServer]) -> AirflowServer:
    """Return an api-server alone, below a path: what is cleared here stays as the clear leaves it."""
    return servers["prefixed_server"]


@pytest.fixture(scope="session")
def simple_server(servers: dict[str, AirflowServer]) -> AirflowServer:
    """Return an api-server alone, with SimpleAuthManager."""
    return servers["simple_server"]


@pytest.fixture(scope="session")
def logged_in(browser: Browser) -> Callable[[AirflowServer, str], Any]:
    """Return a function that gives the cookies of a user who came through the login page, once per user."""
    states: dict[tuple[str, str], Any] = {}

    def log_in(server: AirflowServer, user: str) -> Any:
        key = (server.url, user)
        if key not in states:
            with browser.new_context() as context:
                server.login(context.new_page(), user)
                states[key] = context.storage_state()
        return states[key]

    return log_in


@pytest.fixture
def open_page(
    new_context: Callable[..., BrowserContext], logged_in: Callable[[AirflowServer, str], Any]
) -> Callable[..., Page]:
    """Return a function that opens a blank page of a user; more options are those of the browser context."""

    def open_page(server: AirflowServer, user: str = "admin", **options: Any) -> Page:
        page = new_context(storage_state=logged_in(server, user), **options).new_page()
        page.set_default_timeout(PATIENCE)
        return page

    return open_page


@pytest.fixture
def database(airflow_server: AirflowServer) -> Iterator[Connection]:
    """Connect to the database of ``airflow_server``; each statement sees what is committed by then."""
    engine = create_engine(airflow_server.sqlalchemy_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()
