"""An executor whose task instances take a second each, and no CPU time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from airflow import settings
from airflow.executors.base_executor import BaseExecutor
from sqlalchemy import text

SECONDS = 1.0
START = text(
    "UPDATE task_instance SET state = 'running', start_date = now(), last_heartbeat_at = now() WHERE id = :id"
)
END = text("UPDATE task_instance SET state = 'success', end_date = now() WHERE id = :id")


class PacedExecutor(BaseExecutor):
    """Writes the states that a worker would write: running, and then success."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._ends: dict[Any, tuple[float, str]] = {}

    def sync(self) -> None:
        """End the task instances that have run long enough."""
        over = [key for key, (ends, _) in self._ends.items() if ends <= time.monotonic()]
        self._write(END, [self._ends.pop(key)[1] for key in over])
        for key in over:
            self.success(key)

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        self._write(START, [str(workload.ti.id) for workload in workload_items])
        for workload in workload_items:
            key = workload.ti.key
            self.queued_tasks.pop(key)
            self.running.add(key)
            self._ends[key] = time.monotonic() + SECONDS, str(workload.ti.id)

    def _write(self, statement: Any, ids: Iterable[str]) -> None:
        if values := [{"id": id_} for id_ in ids]:
            with settings.engine.begin() as connection:
                connection.execute(statement, values)

    def end(self) -> None:
        """Leave everything as it is."""

    def terminate(self) -> None:
        """Leave everything as it is."""
