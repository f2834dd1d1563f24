"""The process that measures, seen from the one that asks it to."""

from __future__ import annotations

from typing import Any

from bench.children import Child
from bench.databases import BenchServer

DATABASE = "bench"


class Worker:
    """A process with Airflow's app on a database that is created again for every job, under the same name."""

    def __init__(self, server: BenchServer, driver: str) -> None:
        """Nothing is started before the first job."""
        self.server = server
        self.driver = driver
        self._child: Child | None = None

    def measure(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have a job measured on a fresh copy of the history, and return what was found."""
        with self.server.copy(DATABASE):
            if self._child is None:
                self._child = Child(self.server, DATABASE, "bench.worker", self.driver)
                self._child.receive()
            self._child.send(job)
            found: dict[str, Any] = self._child.receive()
            return found

    def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.stop()
