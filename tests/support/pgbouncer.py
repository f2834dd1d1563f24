"""A private pgbouncer, in transaction mode, before a private PostgreSQL server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from tests.support.postgres import SUPERUSER, PostgresqlServer
from tests.support.processes import stop_with_parent

PORT = 6432
POOL = 7
"""Connections to PostgreSQL that all clients share.

A prime, so that a client with as many transactions between two others does not come back to the same one.
"""
START_TIMEOUT = 30
# Each transaction gets another connection than the one before, as in a busy pool.
SETTINGS = """
[databases]
* = host={server} user={user}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {directory}
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
server_round_robin = 1
query_wait_timeout = 30
{more}
"""


def program() -> str | None:
    """Return the path of pgbouncer, which Debian keeps off some users' PATH."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def version() -> tuple[int, ...]:
    """Return the installed pgbouncer's version; below all others if there is none."""
    found = program()
    if not found:
        return (0,)
    said = subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout
    numbers = re.search(r"(\d+)\.(\d+)", said)
    return tuple(map(int, numbers.groups())) if numbers else (0,)


class Pgbouncer:
    """A pgbouncer in a directory of its own, reached through a Unix socket.

    It refuses to run as root; started by root it runs as the user of the PostgreSQL server.
    """

    def __init__(self, server: PostgresqlServer, more: str = "") -> None:
        """Choose the place; ``more`` are lines of its configuration."""
        self.directory = Path(tempfile.mkdtemp(prefix="safe-clear-pgbouncer-", dir="/tmp"))
        self._server = server
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, driver: str) -> str:
        """Return the SQLAlchemy URL of ``database`` behind it."""
        return f"postgresql+{driver}://{SUPERUSER}@/{database}?host={self.directory}&port={PORT}"

    def start(self, database: str) -> None:
        """Start it; returns when it gives access to ``database``."""
        found = program()
        assert found
        configuration = self.directory / "pgbouncer.ini"
        configuration.write_text(
            SETTINGS.format(
                server=self._server.directory,
                user=SUPERUSER,
                port=PORT,
                pool=POOL,
                directory=self.directory,
                more=self._more,
            )
        )
        account = self._server.account(self.directory)
        with (self.directory / "pgbouncer.log").open("wb") as log:
            self._process = subprocess.Popen(
                [found, str(configuration)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=stop_with_parent(signal.SIGTERM),  # noqa: PLW1509
                **account,
            )
        self._wait(database)
        self._fill(database)

    def stop(self) -> None:
        """Stop it and remove its files; stopping twice does nothing."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self, database: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self._connect(database).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "pgbouncer.log").read_text(errors="replace")
                    self.stop()
                    raise RuntimeError(f"pgbouncer did not start:\n{log}") from None
            else:
                return
            time.sleep(0.1)

    def _fill(self, database: str) -> None:
        """Have it open all connections of its pool, which it does only when they are needed at once."""
        with ExitStack() as open_transactions:
            for _ in range(POOL):
                open_transactions.enter_context(self._connect(database)).execute("SELECT 1")

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.directory), port=PORT, user=SUPERUSER, dbname=database, connect_timeout=5
        )
