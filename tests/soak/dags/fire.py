"""A busy DAG. Every task instance that runs says so, with its id, in a file that the test reads."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseSensorOperator, get_current_context, task


def tell(what: str) -> Any:
    """Append one line, in one write, and return the running task instance."""
    ti = get_current_context()["ti"]
    line = json.dumps([str(ti.id), what, ti.run_id, ti.task_id, ti.map_index, ti.try_number])
    file = os.open(os.environ["SAFE_CLEAR_FIRE_LINES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, f"{line}\n".encode())
    os.close(file)
    return ti


class SecondLook(BaseSensorOperator):
    """Is content when it looks for the second time, and gives its slot back in between."""

    def poke(self, context: Any) -> bool:
        seen = Path(os.environ["SAFE_CLEAR_FIRE_LINES"]).parent / f"{tell('poked').id}.seen"
        if not seen.exists():
            seen.touch()
            return False
        tell("ran")
        return True


with DAG(
    "fire",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    is_paused_upon_creation=False,
    max_active_runs=5,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
):

    @task
    def first() -> None:
        tell("ran")

    @task
    def part(number: int) -> None:
        ti = tell("ran")
        # The first try after each clear fails, and the scheduler tries again.
        if number == 0 and ti.try_number == ti.max_tries:
            raise RuntimeError("on purpose")

    @task
    def last() -> None:
        tell("ran")

    begun = first()
    wait = SecondLook(task_id="wait", mode="reschedule", poke_interval=1, timeout=3600, retries=5)
    begun >> [part.expand(number=[0, 1]), wait] >> last()
