"""What others do meanwhile: `python -m bench.probes`, told what by a line on standard input.

Each probe is a thread with a connection of its own, which does one thing again and again and notes how long
it took. A second line ends it; then it prints the times.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle
from statistics import quantiles
from typing import Any

import httpx
from airflow import settings
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

PAUSE = 0.02
PICKED_AT_MOST = 32


class Probe(threading.Thread):
    """Does one thing again and again until it is told to stop."""

    def __init__(self, what: Callable[[], object]) -> None:
        """Do ``what``; an `OperationalError` means that the scheduler would skip this round."""
        super().__init__(daemon=True)
        self.what = what
        self.over = threading.Event()
        self.times: list[float] = []
        self.skipped = 0

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.wait(PAUSE):
            start = time.perf_counter()
            try:
                self.what()
            except OperationalError:
                self.skipped += 1
            self.times.append(time.perf_counter() - start)

    def found(self) -> dict[str, Any]:
        """Return the longest time and what most took."""
        middle = quantiles(self.times, n=20)
        return {
            "longest": max(self.times),
            "p95": middle[18],
            "median": middle[9],
            "times": len(self.times),
            "skipped": self.skipped,
        }


def heartbeat(ids: list[str]) -> Callable[[], object]:
    """Return what the API server does for a worker's heartbeat, for one task instance after the other."""
    going_round = cycle(ids)
    query = text("UPDATE task_instance SET last_heartbeat_at = now() WHERE id = :id AND state = 'running'")

    def beat() -> None:
        with settings.engine.begin() as connection:
            connection.execute(query, {"id": next(going_round)})

    return beat


def examine_runs() -> None:
    """Take the dag runs that a scheduler looks at next, and let them go."""
    with settings.NonScopedSession() as session:
        list(DagRun.get_running_dag_runs_to_examine(session=session))
        list(DagRun.get_queued_dag_runs_to_set_running(session=session))
        session.rollback()


def pick() -> Callable[[], object]:
    """Return a scheduler's choice of what to queue, which is let go again."""
    scheduler = SchedulerJobRunner(job=Job())

    def choose() -> None:
        with settings.NonScopedSession() as session:
            try:
                scheduler._executable_task_instances_to_queued(PICKED_AT_MOST, session=session)
            finally:
                session.rollback()

    return choose


def version(url: str) -> Callable[[], object]:
    """Return a request that needs next to nothing."""
    client = httpx.Client(trust_env=False, timeout=None)
    return lambda: client.get(f"{url}/api/v2/version").raise_for_status()


def main() -> None:
    """Probe between the two lines."""
    asked = json.loads(sys.stdin.readline())
    probes = {
        "heartbeat": Probe(heartbeat(asked["running"])),
        "runs": Probe(examine_runs),
        "pick": Probe(pick()),
        "version": Probe(version(asked["url"])),
    }
    for probe in probes.values():
        probe.what()
    print(json.dumps("ready"), flush=True)
    for probe in probes.values():
        probe.start()
    sys.stdin.readline()
    for probe in probes.values():
        probe.over.set()
    for probe in probes.values():
        probe.join()
    print(json.dumps({name: probe.found() for name, probe in probes.items()}), flush=True)


if __name__ == "__main__":
    main()
