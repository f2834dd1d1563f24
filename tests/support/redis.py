"""A private Redis server, the broker of Celery."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.processes import stop_with_parent

START_TIMEOUT = 30


def program() -> str | None:
    """Return the path of Redis' server, if it is installed."""
    return shutil.which("redis-server")


class RedisServer:
    """A Redis in a directory of its own, reached through a Unix socket; it keeps nothing."""

    def __init__(self) -> None:
        """Choose the place, so that the URL is known before the server is started."""
        self.directory = Path(tempfile.mkdtemp(prefix="safe-clear-redis-", dir="/tmp"))
        self._socket = self.directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL that Celery takes as its broker."""
        return f"redis+socket://{self._socket}?virtual_host=0"

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        found = program()
        assert found
        command = [
            found,
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        with (self.directory / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=stop_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / "redis.log").read_text(errors="replace")
                raise RuntimeError(f"Redis did not start:\n{said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it and remove its files; stopping twice does nothing."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)
