"""Runs the measurements one after the other, each on a fresh copy of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.databases import DRIVERS, BenchServer
from bench.names import AIRFLOWS, BY_DRIVER, WAYS
from bench.options import Options
from bench.scopes import Scope
from bench.workers import Worker

Row = dict[str, Any]
SETUP_SECONDS = 120
"""What a process may need before and after what is measured, beyond the cap."""
OURS_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to be measured."""

    op: str
    who: str
    scope: Scope
    driver: str = DRIVERS[0]
    delay_ms: float = 0.0

    def __str__(self) -> str:
        """Name it for the one who waits."""
        return f"{self.op} {self.scope.task_instances:,} {self.who} ({self.driver})"

    @property
    def labels(self) -> Row:
        """Return what tells its row from others."""
        return {"op": self.op, "size": self.scope.task_instances, "who": self.who, "driver": self.driver}


def jobs(ops: Iterable[str], scope: Scope, options: Options, *, delay_ms: float = 0) -> Iterator[Job]:
    """Return everything to be measured about a scope, the ways of one operation next to each other."""
    for op in ops:
        drivers = options.drivers if op in BY_DRIVER else options.drivers[:1]
        for driver in drivers if op in options.ops else ():
            for who in WAYS[op]:
                yield Job(op, who, scope, driver, delay_ms)


class Runner:
    """Measures jobs and keeps the rows."""

    def __init__(self, server: BenchServer, options: Options, say: Callable[[str], None]) -> None:
        """Tell progress to ``say``."""
        self.server = server
        self.options = options
        self.say = say
        self._workers = {driver: Worker(server, driver) for driver in options.drivers}

    def stop(self) -> None:
        """End the processes that measure."""
        for worker in self._workers.values():
            worker.stop()

    def rows(self, of_scope: list[Job], runs: int, earlier: Iterable[Row] = ()) -> list[Row]:
        """Measure each job ``runs`` times, round by round, and return a row of medians for each."""
        found: dict[Job, list[Row]] = {job: [] for job in of_scope}
        given_up = {job: why for job in of_scope if (why := hopeless(job, earlier, self.options.cap))}
        for _ in range(runs):
            for job in of_scope:
                if job in given_up:
                    continue
                self.say(str(job))
                row = self._measure(job)
                if row is None:
                    given_up[job] = f"over {self.options.cap:g} s"
                else:
                    found[job].append(row)
        return [
            _given_up(job, given_up[job]) if job in given_up else summary(job, found[job]) for job in of_scope
        ]

    def _measure(self, job: Job) -> Row | None:
        """Return what was measured, or nothing when it took too long."""
        limit = self.options.cap + SETUP_SECONDS if job.who in AIRFLOWS else OURS_SECONDS
        row = self._workers[job.driver].measure({**asdict(job), "timeout": limit})
        if "error" in row:
            raise RuntimeError(f"{job}: {row['error']}")
        return None if "timeout" in row else row


def hopeless(job: Job, earlier: Iterable[Row], cap: float) -> str | None:
    """Say why not to try: at the pace of a smaller size it would already take longer than the cap."""
    for row in earlier if job.who in AIRFLOWS else ():
        is_same = (row["op"], row["who"], row["driver"]) == (job.op, job.who, job.driver)
        if is_same and row["size"] < job.scope.task_instances:
            expected = job.scope.task_instances / row["size"] * (row["seconds"] or cap)
            if expected > cap:
                return f"not run: over {expected:,.0f} s at the pace of {row['size']:,}"
    return None


def summary(job: Job, found: list[Row]) -> Row:
    """Return the medians of several measurements."""
    medians = {name: round(median(row[name] for row in found), 6) for name in found[0]}
    return {
        **job.labels,
        **medians,
        "runs": len(found),
        "all_seconds": [round(row["seconds"], 6) for row in found],
    }


def _given_up(job: Job, why: str) -> Row:
    return {**job.labels, "seconds": None, "note": why}
