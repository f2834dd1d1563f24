"""A private MariaDB server for the length of a test session."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pymysql

from tests.support.processes import stop_with_parent

SUPERUSER = "root"
START_TIMEOUT = 60


def is_installed() -> bool:
    """Whether MariaDB's server programs are on this machine; Debian keeps the server off some users' PATH."""
    return all(map(_program, ("mariadbd", "mariadb-install-db")))


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


class MariadbServer:
    """A MariaDB server in a directory of its own, reached through a Unix socket by whoever may enter it.

    Started by root it runs as the ``mysql`` user of Debian's package.
    """

    def __init__(self) -> None:
        """Choose the place; nothing is started yet."""
        # A Unix socket's path has at most 107 characters: pytest's temporary directories may be too deep.
        self.directory = Path(tempfile.mkdtemp(prefix="safe-clear-mariadb-", dir="/tmp"))
        self.socket = self.directory / "server.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database``."""
        return f"mysql+pymysql://{SUPERUSER}@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"

    def start(self) -> None:
        """Make the server's files and start it; returns when it accepts connections."""
        account = self._account()
        data = f"--datadir={self.directory / 'data'}"
        subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                data,
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **account,
        )
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(_program("mariadbd"), "--no-defaults", data, f"--socket={self.socket}"),
                    *("--skip-networking", "--character-set-server=utf8mb4"),
                    # Nothing here outlives the session, so durability only costs time.
                    *("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=stop_with_parent(signal.SIGTERM),  # noqa: PLW1509
                **account,
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server and remove its files; stopping twice does nothing."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """Create an empty database as Airflow's documentation asks for it, and return its URL."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        return self.url(name)

    def _account(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        mysql = pwd.getpwnam("mysql")
        os.chown(self.directory, mysql.pw_uid, mysql.pw_gid)
        return {"user": mysql.pw_uid, "group": mysql.pw_gid, "extra_groups": [], "cwd": self.directory}

    def _connect(self) -> pymysql.Connection[Any]:
        return pymysql.connect(unix_socket=str(self.socket), user=SUPERUSER)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        log = self.directory / "server.log"
        while "ready for connections" not in log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"MariaDB did not start:\n{said}")
            time.sleep(0.1)
