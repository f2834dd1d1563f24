"""An executor for a scheduler whose choices are real, and lead to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.executors.base_executor import BaseExecutor


class IdleExecutor(BaseExecutor):
    """Takes what it is given, and never says that it ended; its slots are full soon, as a busy one's are."""

    def sync(self) -> None:
        """Learn nothing of what runs."""

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            self.queued_tasks.pop(workload.ti.key)
            self.running.add(workload.ti.key)

    def try_adopt_task_instances(self, tis: Sequence[Any]) -> Sequence[Any]:
        """Take over all that runs already, so that none is reset."""
        del tis
        return []

    def end(self) -> None:
        """Leave everything as it is."""

    def terminate(self) -> None:
        """Leave everything as it is."""
