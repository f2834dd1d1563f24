"""Tasks of known lengths."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from airflow.sdk import DAG, task

with DAG("timed", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def take(seconds: float) -> None:
        time.sleep(seconds)

    first, last = take.override(task_id="first")(1), take.override(task_id="last")(1)
    first >> take.override(task_id="part").expand(seconds=[2, 2, 2]) >> last
