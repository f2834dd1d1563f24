"""A private PostgreSQL server for the length of a test session."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tests.support.processes import stop_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

SUPERUSER = "airflow"
DRIVER = "psycopg"
START_TIMEOUT = 30

# Nothing here outlives the session, so durability only costs time.
SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "timezone": "UTC",
}


class PostgresqlUnavailable(RuntimeError):
    """PostgreSQL's server programs are not on this machine."""


def server_program(name: str) -> str:
    """Return the path of one of PostgreSQL's server programs, which Debian keeps off ``PATH``."""
    debian = Path("/usr/lib/postgresql").glob(f"[0-9]*/bin/{name}")
    newest = max(debian, key=lambda path: float(path.parts[-3]), default=None)
    found = str(newest) if newest else shutil.which(name)
    if not found:
        raise PostgresqlUnavailable(f"{name} is missing: run `make system` to install PostgreSQL")
    return found


class PostgresqlServer:
    """A PostgreSQL cluster in a directory of its own, reached through a Unix socket.

    The server refuses to run as root; started by root it runs as the ``postgres`` user of Debian's package.
    """

    def __init__(self, settings: Mapping[str, str] = SERVER_SETTINGS, driver: str = DRIVER) -> None:
        """Choose the place, so that URLs are known before the server is started."""
        self._settings = settings
        self._driver = driver
        # A Unix socket's path has at most 107 characters: pytest's temporary directories may be too deep.
        self.directory = Path(tempfile.mkdtemp(prefix="safe-clear-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def process_id(self) -> int | None:
        """The process id of the started server."""
        return self._process.pid if self._process else None

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database``."""
        return f"postgresql+{self._driver}://{SUPERUSER}@/{database}?host={self.directory}"

    def start(self) -> None:
        """Make the cluster and start the server; returns when it accepts connections."""
        account = self.account(self.directory)
        data = self.directory / "data"
        initdb = [server_program("initdb"), "--pgdata", str(data), "--username", SUPERUSER]
        subprocess.run(
            [*initdb, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            **account,
        )
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        self._log = (self.directory / "server.log").open("wb")
        self._process = subprocess.Popen(
            [server_program("postgres"), "-D", str(data), "-k", str(self.directory), *settings],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for pytest: it stops the server after the tests' own clean-up.
            start_new_session=True,
            preexec_fn=stop_with_parent(signal.SIGINT),  # noqa: PLW1509
            **account,
        )
        self._wait()

    def stop(self) -> None:
        """Stop the server and remove the cluster; stopping twice does nothing."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)
        if self._log:
            self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create an empty database, or a copy of ``template``, and return its URL."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, with the connections that are left in it."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def account(self, directory: Path) -> dict[str, Any]:
        """Return how to start a process as the server's user, to whom ``directory`` then belongs."""
        if os.geteuid() != 0:
            return {}
        try:
            postgres = pwd.getpwnam("postgres")
        except KeyError:
            raise PostgresqlUnavailable(
                "root cannot run PostgreSQL and there is no user postgres: run `make system`"
            ) from None
        os.chown(directory, postgres.pw_uid, postgres.pw_gid)
        return {
            "user": postgres.pw_uid,
            "group": postgres.pw_gid,
            "extra_groups": [],
            "cwd": directory,
            "env": {**os.environ, "HOME": str(directory)},
        }

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            host=str(self.directory), user=SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5
        ) as connection:
            yield connection

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with self._connect():
                    return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "server.log").read_text(errors="replace")
                    self.stop()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log}") from None
            time.sleep(0.05)
