"""An estimate of the time that the cleared task instances will take, from past durations of the same tasks.

A deliberate simplification of the scheduler: dag runs start in rounds, as many at a time as can be active. A
run takes as long as its longest chain of cleared tasks. The limits that several runs share (a pool, the
executor's slots) let no more work through than they have slots for. The slowest of these decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from graphlib import TopologicalSorter
from typing import Any


@dataclass(frozen=True, slots=True)
class Duration:
    """Durations of the successes of a task, in seconds."""

    median: float
    p90: float
    successes: int
    lag: float = 0.0
    """Seconds from scheduled to running when no limit was reached."""


@dataclass(frozen=True, slots=True)
class TaskLoad:
    """A task that is cleared, in the dag runs that use one DAG version."""

    version: str
    task_id: str
    runs: int
    instances: int
    upstream: frozenset[str] = frozenset()
    """Its direct upstream tasks; those that are not cleared have finished, so nothing waits for them."""
    pool: str = "default_pool"
    pool_slots: int = 1
    depends_on_past: bool = False
    per_dag: int | None = None
    """``max_active_tis_per_dag``; ``per_run`` is ``max_active_tis_per_dagrun``."""
    per_run: int | None = None

    @property
    def instances_per_run(self) -> int:
        """Task instances of the task in a run that has any, rounded up."""
        return math.ceil(self.instances / self.runs)


@dataclass(frozen=True, slots=True)
class RunQueue:
    """Dag runs that wait for the same slots: those of one backfill, or all others of the DAG."""

    runs: int
    slots: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The limits on what can be active at a time."""

    queues: tuple[RunQueue, ...]
    per_run: float = math.inf
    """``max_active_tasks``, which counts for each dag run."""
    pools: Mapping[str, float] = field(default_factory=dict)
    """The slots of each pool."""
    executor: float = math.inf
    """``[core] parallelism``."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The likely cost of a clear; seconds are ``None`` when they are unknown, or it never ends."""

    task_seconds: float | None
    """The sum over all task instances, at the median; ``slow`` means at the 90th percentile."""
    task_seconds_slow: float | None
    seconds: float | None
    """From the clear until the last task instance is done."""
    seconds_slow: float | None
    last_start: float | None
    """From the clear until the last dag run starts."""
    held_by: str
    """The name of the limit that decides the time; empty if none does."""
    successes: int
    """The past successes that it is based on, in the latest ``runs_looked_at`` runs."""
    runs_looked_at: int
    unknown_tasks: tuple[str, ...]
    """Tasks without a past success, and how many task instances of them are cleared."""
    unknown_task_instances: int

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return {**asdict(self), "unknown_tasks": list(self.unknown_tasks)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Estimate:
        """Rebuild an estimate from :meth:`to_json`."""
        return cls(**{**values, "unknown_tasks": tuple(values["unknown_tasks"])})


Measure = Callable[[TaskLoad], float]
"""Seconds that one task instance of a task takes."""


def estimate(
    loads: Iterable[TaskLoad],
    durations: Mapping[str, Duration],
    concurrency: Concurrency,
    *,
    runs: Mapping[str, int],
    runs_looked_at: int = 0,
    ends: bool = True,
) -> Estimate:
    """Estimate the cost of the loads; ``runs`` counts the dag runs of each DAG version.

    ``ends`` is false when some of the task instances never start.
    """
    work = list(loads)
    known = [load for load in work if load.task_id in durations]
    unknown = [load for load in work if load.task_id not in durations]
    wall = held_by = slow = last = None
    if known and ends:
        wall, held_by = _wall_time(work, _median(durations), concurrency, runs)
        slow, _ = _wall_time(work, _p90(durations), concurrency, runs)
        last = wall * max(
            ((rounds - 1) / rounds for rounds in map(_rounds, concurrency.queues) if rounds), default=0
        )
    used = {load.task_id for load in known}
    return Estimate(
        task_seconds=_total(known, lambda load: durations[load.task_id].median),
        task_seconds_slow=_total(known, lambda load: durations[load.task_id].p90),
        seconds=wall,
        seconds_slow=slow,
        last_start=last,
        held_by=held_by or "",
        successes=sum(durations[task_id].successes for task_id in used),
        runs_looked_at=runs_looked_at,
        unknown_tasks=tuple(sorted({load.task_id for load in unknown})),
        unknown_task_instances=sum(load.instances for load in unknown),
    )


def _median(durations: Mapping[str, Duration]) -> Measure:
    return lambda load: _plus_lag(durations.get(load.task_id), "median")


def _p90(durations: Mapping[str, Duration]) -> Measure:
    return lambda load: _plus_lag(durations.get(load.task_id), "p90")


def _plus_lag(duration: Duration | None, which: str) -> float:
    return getattr(duration, which) + duration.lag if duration else 0.0


def _total(loads: Iterable[TaskLoad], takes: Measure) -> float | None:
    seconds = [load.instances * takes(load) for load in loads]
    return math.fsum(seconds) if seconds else None


def _wall_time(
    loads: list[TaskLoad], takes: Measure, concurrency: Concurrency, runs: Mapping[str, int]
) -> tuple[float, str]:
    """Return how long everything takes, and the limit that decides."""
    by_version: dict[str, list[TaskLoad]] = {}
    for load in loads:
        by_version.setdefault(load.version, []).append(load)
    longest = max(_critical_path(own, takes, concurrency, None) for own in by_version.values())
    mean = _mean_run(by_version, takes, concurrency, runs)
    bounds = [(longest, "")]
    bounds += [
        (_rounds(queue) * mean, "max_active_runs") for queue in concurrency.queues if _rounds(queue) > 1
    ]
    bounds += _shared(loads, takes, concurrency)
    bounds += [
        (longest + (load.runs - 1) * _in_run(load, takes, concurrency), "depends_on_past")
        for load in loads
        if load.depends_on_past and load.runs > 1
    ]
    return max(bounds, key=lambda bound: bound[0])


def _shared(loads: list[TaskLoad], takes: Measure, concurrency: Concurrency) -> list[tuple[float, str]]:
    """Return how long each limit that all runs share needs."""
    needs: dict[str, float] = {}
    for load in loads:
        seconds = load.instances * takes(load)
        needs[load.pool] = needs.get(load.pool, 0.0) + seconds * load.pool_slots
    bounds = [
        (need / concurrency.pools[pool], f"pool {pool}")
        for pool, need in needs.items()
        if concurrency.pools.get(pool, 0) > 0
    ]
    bounds += [
        (load.instances * takes(load) / load.per_dag, "max_active_tis_per_dag")
        for load in loads
        if load.per_dag
    ]
    everything = math.fsum(load.instances * takes(load) for load in loads)
    return [*bounds, (everything / concurrency.executor, "[core] parallelism")]


def _mean_run(
    by_version: Mapping[str, list[TaskLoad]],
    takes: Measure,
    concurrency: Concurrency,
    runs: Mapping[str, int],
) -> float:
    """Return how long a run takes on average, as not every run has a task instance of every task."""
    total = sum(runs.values())
    return math.fsum(
        _critical_path(own, takes, concurrency, runs[version]) * runs[version] / total
        for version, own in by_version.items()
    )


def _critical_path(
    loads: list[TaskLoad], takes: Measure, concurrency: Concurrency, runs: int | None
) -> float:
    """Return how long the longest chain of tasks takes, or all tasks in parallel if that takes longer.

    With ``runs``, each task counts by the share of these runs that has it.
    """
    shares = {load.task_id: load.runs / runs if runs else 1.0 for load in loads}
    by_id = {load.task_id: load for load in loads}
    ends: dict[str, float] = {}
    for task_id in TopologicalSorter({s.task_id: s.upstream & by_id.keys() for s in loads}).static_order():
        load = by_id[task_id]
        start = max((ends[upstream] for upstream in load.upstream if upstream in ends), default=0.0)
        ends[task_id] = start + _in_run(load, takes, concurrency) * shares[task_id]
    at_once = min(concurrency.per_run, concurrency.executor)
    parallel = (
        math.fsum(load.instances_per_run * takes(load) * shares[load.task_id] for load in loads) / at_once
    )
    return max(*ends.values(), parallel)


def _in_run(load: TaskLoad, takes: Measure, concurrency: Concurrency) -> float:
    """Return how long the task instances of a task take in one run, in as many rounds as they need."""
    room = concurrency.pools.get(load.pool, math.inf) / max(load.pool_slots, 1)
    slots = room if math.isinf(room) else math.floor(room)
    at_once = min(
        concurrency.per_run, concurrency.executor, slots, load.per_run or math.inf, load.per_dag or math.inf
    )
    return max(1, math.ceil(load.instances_per_run / max(at_once, 1))) * takes(load)


def _rounds(queue: RunQueue) -> int:
    return math.ceil(queue.runs / max(queue.slots, 1))
