"""A process of the benchmark that is asked, and answers, line by line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from bench.databases import DRIVERS, REPOSITORY, BenchServer
from tests.support.processes import stop_groups, stop_with_parent


class Child:
    """``python -m MODULE`` with Airflow on ``database``; its lines are JSON."""

    def __init__(self, server: BenchServer, database: str, module: str, driver: str = DRIVERS[0]) -> None:
        """Start it."""
        self._log = server.home / f"{module}-{driver}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=server.environment(database, driver),
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                preexec_fn=stop_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )

    def send(self, message: Any) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Wait for what it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A process ended:\n{self._log.read_text(errors='replace')[-4000:]}")
        return json.loads(line)

    def stop(self) -> None:
        """End it."""
        stop_groups([self._process])
