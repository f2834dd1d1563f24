"""How long what is cleared will keep Airflow busy, from how long the same tasks took before.

A deliberate simplification of the scheduler: dag runs start in waves, as many at a time as may be active;
a run takes as long as its longest chain of cleared tasks; and no limit that several runs share (a pool, the
executor's slots) lets work through faster than it has room for. The slowest of these decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from graphlib import TopologicalSorter
from typing import Any


@dataclass(frozen=True, slots=True)
class Duration:
    """How long the successes of a task took, in seconds."""

    median: float
    p90: float
    successes: int
    lag: float = 0.0
    """From being scheduled to being at work, when nothing was in the way."""


@dataclass(frozen=True, slots=True)
class Step:
    """A task that is cleared, in the dag runs that use one DAG version."""

    version: str
    task_id: str
    runs: int
    instances: int
    upstream: frozenset[str] = frozenset()
    """Its direct upstream tasks; those that are not cleared are done and keep nothing waiting."""
    pool: str = "default_pool"
    pool_slots: int = 1
    depends_on_past: bool = False
    per_dag: int | None = None
    """``max_active_tis_per_dag``; ``per_run`` is ``max_active_tis_per_dagrun``."""
    per_run: int | None = None

    @property
    def width(self) -> int:
        """Task instances in a run that has any."""
        return math.ceil(self.instances / self.runs)


@dataclass(frozen=True, slots=True)
class Lane:
    """Dag runs that wait for the same places: those of one backfill, or all others of the DAG."""

    runs: int
    places: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be at work at a time."""

    lanes: tuple[Lane, ...]
    per_run: float = math.inf
    """``max_active_tasks``, which holds for each dag run."""
    pools: Mapping[str, float] = field(default_factory=dict)
    """The slots of each pool."""
    executor: float = math.inf
    """``[core] parallelism``."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a clear is likely to cost; seconds are ``None`` when nothing is known, or it never ends."""

    task_seconds: float | None
    """Added up over all task instances; ``slow`` ones at the 90th percentile."""
    task_seconds_slow: float | None
    seconds: float | None
    """From the clear until the last task instance is done."""
    seconds_slow: float | None
    last_start: float | None
    """From the clear until the last dag run starts."""
    held_by: str
    """What decides how long it takes: the name of a limit, or nothing."""
    successes: int
    """How many past successes it rests on, in so many of the latest runs."""
    runs_looked_at: int
    unknown_tasks: tuple[str, ...]
    """Tasks that have no success to go by, and how many task instances of them are cleared."""
    unknown_task_instances: int

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return {**asdict(self), "unknown_tasks": list(self.unknown_tasks)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Estimate:
        """Rebuild an estimate from :meth:`to_json`."""
        return cls(**{**values, "unknown_tasks": tuple(values["unknown_tasks"])})


Measure = Callable[[Step], float]
"""Seconds that one task instance of a step takes."""


def estimate(
    steps: Iterable[Step],
    durations: Mapping[str, Duration],
    limits: Limits,
    *,
    runs: Mapping[str, int],
    runs_looked_at: int = 0,
    ends: bool = True,
) -> Estimate:
    """Estimate what the steps cost; ``runs`` counts the dag runs of each DAG version.

    ``ends`` is false when some of it never starts.
    """
    work = list(steps)
    known = [step for step in work if step.task_id in durations]
    unknown = [step for step in work if step.task_id not in durations]
    wall = held_by = slow = last = None
    if known and ends:
        wall, held_by = _wall(work, _median(durations), limits, runs)
        slow, _ = _wall(work, _p90(durations), limits, runs)
        last = wall * max(((waves - 1) / waves for waves in map(_waves, limits.lanes) if waves), default=0)
    used = {step.task_id for step in known}
    return Estimate(
        task_seconds=_total(known, lambda step: durations[step.task_id].median),
        task_seconds_slow=_total(known, lambda step: durations[step.task_id].p90),
        seconds=wall,
        seconds_slow=slow,
        last_start=last,
        held_by=held_by or "",
        successes=sum(durations[task_id].successes for task_id in used),
        runs_looked_at=runs_looked_at,
        unknown_tasks=tuple(sorted({step.task_id for step in unknown})),
        unknown_task_instances=sum(step.instances for step in unknown),
    )


def _median(durations: Mapping[str, Duration]) -> Measure:
    return lambda step: _plus_lag(durations.get(step.task_id), "median")


def _p90(durations: Mapping[str, Duration]) -> Measure:
    return lambda step: _plus_lag(durations.get(step.task_id), "p90")


def _plus_lag(duration: Duration | None, which: str) -> float:
    return getattr(duration, which) + duration.lag if duration else 0.0


def _total(steps: Iterable[Step], takes: Measure) -> float | None:
    seconds = [step.instances * takes(step) for step in steps]
    return math.fsum(seconds) if seconds else None


def _wall(steps: list[Step], takes: Measure, limits: Limits, runs: Mapping[str, int]) -> tuple[float, str]:
    """Return how long all of it takes, and the limit that decides."""
    by_version: dict[str, list[Step]] = {}
    for step in steps:
        by_version.setdefault(step.version, []).append(step)
    longest = max(_chain(own, takes, limits, None) for own in by_version.values())
    mean = _mean_run(by_version, takes, limits, runs)
    bounds = [(longest, "")]
    bounds += [(_waves(lane) * mean, "max_active_runs") for lane in limits.lanes if _waves(lane) > 1]
    bounds += _shared(steps, takes, limits)
    bounds += [
        (longest + (step.runs - 1) * _in_run(step, takes, limits), "depends_on_past")
        for step in steps
        if step.depends_on_past and step.runs > 1
    ]
    return max(bounds, key=lambda bound: bound[0])


def _shared(steps: list[Step], takes: Measure, limits: Limits) -> list[tuple[float, str]]:
    """Return how long the limits need that all runs share."""
    needs: dict[str, float] = {}
    for step in steps:
        seconds = step.instances * takes(step)
        needs[step.pool] = needs.get(step.pool, 0.0) + seconds * step.pool_slots
    bounds = [
        (need / limits.pools[pool], f"pool {pool}")
        for pool, need in needs.items()
        if limits.pools.get(pool, 0) > 0
    ]
    bounds += [
        (step.instances * takes(step) / step.per_dag, "max_active_tis_per_dag")
        for step in steps
        if step.per_dag
    ]
    everything = math.fsum(step.instances * takes(step) for step in steps)
    return [*bounds, (everything / limits.executor, "[core] parallelism")]


def _mean_run(
    by_version: Mapping[str, list[Step]], takes: Measure, limits: Limits, runs: Mapping[str, int]
) -> float:
    """Return how long a run takes on average: not every run need have a task instance of every step."""
    total = sum(runs.values())
    return math.fsum(
        _chain(own, takes, limits, runs[version]) * runs[version] / total
        for version, own in by_version.items()
    )


def _chain(steps: list[Step], takes: Measure, limits: Limits, runs: int | None) -> float:
    """Return how long the longest chain of steps takes, or all of them one beside the other.

    With ``runs``, each step counts for as much as the part of these runs that has it.
    """
    shares = {step.task_id: step.runs / runs if runs else 1.0 for step in steps}
    by_id = {step.task_id: step for step in steps}
    ends: dict[str, float] = {}
    for task_id in TopologicalSorter({s.task_id: s.upstream & by_id.keys() for s in steps}).static_order():
        step = by_id[task_id]
        start = max((ends[upstream] for upstream in step.upstream if upstream in ends), default=0.0)
        ends[task_id] = start + _in_run(step, takes, limits) * shares[task_id]
    abreast = min(limits.per_run, limits.executor)
    beside = math.fsum(step.width * takes(step) * shares[step.task_id] for step in steps) / abreast
    return max(*ends.values(), beside)


def _in_run(step: Step, takes: Measure, limits: Limits) -> float:
    """Return how long the task instances of a step take in one run, in as many rounds as they need."""
    room = limits.pools.get(step.pool, math.inf) / max(step.pool_slots, 1)
    slots = room if math.isinf(room) else math.floor(room)
    abreast = min(limits.per_run, limits.executor, slots, step.per_run or math.inf, step.per_dag or math.inf)
    return max(1, math.ceil(step.width / max(abreast, 1))) * takes(step)


def _waves(lane: Lane) -> int:
    return math.ceil(lane.runs / max(lane.places, 1))
