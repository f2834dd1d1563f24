"""The process that measures, seen from the one that asks it to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from bench.databases import REPOSITORY, BenchServer
from tests.support.processes import stop_groups, stop_with_parent

DATABASE = "bench"


class Worker:
    """A process with Airflow's app on a database that is made anew for every job, under the same name."""

    def __init__(self, server: BenchServer) -> None:
        """Nothing is started before the first job."""
        self.server = server
        self._process: subprocess.Popen[str] | None = None

    def measure(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have a job measured on a fresh copy of the history, and return what was found."""
        with self.server.copy(DATABASE):
            process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(self._line(process))
            return found

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            stop_groups([self._process])
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        log = (self.server.home / "worker.log").open("wb")
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker"],
            env=self.server.environment(DATABASE),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            preexec_fn=stop_with_parent(signal.SIGTERM),
        )
        log.close()
        self._line(process)
        return process

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            log = (self.server.home / "worker.log").read_text(errors="replace")
            raise RuntimeError(f"The process that measures ended:\n{log[-4000:]}")
        return line
