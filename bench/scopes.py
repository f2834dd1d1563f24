"""What the history looks like and which part of it each measurement is about. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

TASKS = 50
DAGS = 10
MANY = "bench_many"
"""The DAG with one run of many mapped task instances."""
BESIDE = "bench_beside"
"""A DAG without a history that runs while others are cleared."""
FIRST = datetime(2024, 1, 1, tzinfo=timezone.utc)
PLANS = 10_000
LARGE = 10_000
"""From this size on the history is a large deployment's."""


def dag_id(number: int) -> str:
    """Return the id of a DAG; number 0 is the one that is cleared, number 1 the one to warm up with."""
    return f"bench_{number:02d}"


def hour(number: int) -> datetime:
    """Return the logical date of a run, by its number."""
    return FIRST + timedelta(hours=number)


@dataclass(frozen=True, slots=True)
class History:
    """How much there is in the metadata database."""

    runs: int
    other_runs: int
    mapped: int

    @property
    def dag_runs(self) -> int:
        """How many dag runs there are."""
        return self.runs + (DAGS - 1) * self.other_runs + 1

    @property
    def task_instances(self) -> int:
        """How many task instances there are."""
        return (self.dag_runs - 1) * TASKS + self.mapped


def history_for(sizes: list[int], mapped: int) -> History:
    """Return a history in which the largest size fits, with nine DAGs beside the one that is cleared."""
    other = 2_000 if max(sizes) >= LARGE else 200
    return History(max(other, max(sizes) // TASKS), other, mapped)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one measurement is about: the last runs of a DAG by their dates, or one run."""

    dag_id: str
    task_instances: int
    date_from: str | None = None
    date_to: str | None = None
    run_id: str | None = None

    def to_json(self) -> str:
        """Write it for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Scope:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))

    def dates(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last logical date, or nothing for one run."""
        if self.date_from is None or self.date_to is None:
            return None
        return datetime.fromisoformat(self.date_from), datetime.fromisoformat(self.date_to)


def scope_of(size: int, history: History) -> Scope:
    """Return the last runs that hold ``size`` task instances."""
    runs = size // TASKS
    if runs * TASKS != size or not 0 < runs <= history.runs:
        raise ValueError(f"{size:,}: sizes are multiples of {TASKS}, at most {history.runs * TASKS:,}")
    first, last = hour(history.runs - runs), hour(history.runs - 1)
    return Scope(dag_id(0), size, first.isoformat(), last.isoformat())


def warm_scope() -> Scope:
    """Return one run of another DAG, on which a process warms up as a server does with its first request."""
    return Scope(dag_id(1), TASKS, hour(0).isoformat(), hour(0).isoformat())


def history_scope() -> Scope:
    """Return the scope of the page of plans: the number of plans."""
    return Scope(dag_id(0), PLANS)


def mapped_scope(history: History) -> Scope:
    """Return the run with the mapped task instances."""
    return Scope(MANY, history.mapped, run_id=run_id(0))


def run_id(number: int) -> str:
    """Return the id of a run, by its number."""
    return f"scheduled__{hour(number).isoformat()}"
