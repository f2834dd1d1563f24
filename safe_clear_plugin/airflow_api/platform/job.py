"""A process of ours as one of Airflow's jobs, whose heartbeat ``airflow jobs check`` looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.jobs.base_job_runner import BaseJobRunner
from airflow.jobs.job import Job, perform_heartbeat, run_job

JOB_TYPE = "SafeClearDriverJob"


class _Runner(BaseJobRunner):  # type: ignore[misc]
    job_type = JOB_TYPE


def run_as_job(work: Callable[[Callable[[], None]], None]) -> None:
    """Do ``work``, which is given the function that says, now and then, that it is alive.

    A heartbeat comes as often as ``[scheduler] job_heartbeat_sec`` says.
    """
    job = Job()
    runner = _Runner(job)

    def beat() -> None:
        perform_heartbeat(job=job, heartbeat_callback=_nothing, only_if_necessary=True)

    run_job(job=runner.job, execute_callable=lambda: work(beat))


def _nothing(**_: Any) -> None:
    """Do nothing more at a heartbeat."""
