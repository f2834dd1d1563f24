"""What the demo DAGs share: the two teams, and failures that happen now and then but always the same way."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import get_current_context

START_DATE = pendulum.datetime(2024, 1, 1, tz="UTC")

#: The FAB role of the demo's operator; these permissions let it see and clear the finance team's DAGs.
FINANCE_ROLE = "finance_operator"
FINANCE_ACCESS = {FINANCE_ROLE: {"can_read", "can_edit"}}


def team_arguments(team: str) -> dict[str, Any]:
    """Return the ``default_args`` of a team's tasks."""
    return {"owner": team, "retries": 1, "retry_delay": timedelta(seconds=20)}


def failing_tries(dag_id: str, task_id: str, run_id: str, map_index: int = -1) -> int:
    """Return how many tries of a flaky task instance fail before one succeeds: mostly 0, else 1 or 2.

    It is a hash and not a random number, so that the seeded history tells of the same failures as the DAG
    itself, and so that a task instance that was cleared after its two tries succeeds with its third.
    """
    key = f"{dag_id}/{task_id}/{run_id}/{map_index}".encode()
    bucket = int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % 1000
    if bucket < 6:
        return 2
    return 1 if bucket < 35 else 0


def fail_now_and_then(reason: str) -> None:
    """Raise inside the few tries that :func:`failing_tries` has picked."""
    ti = get_current_context()["ti"]
    if ti.try_number <= failing_tries(ti.dag_id, ti.task_id, ti.run_id, ti.map_index):
        raise RuntimeError(f"{reason} (try {ti.try_number})")
