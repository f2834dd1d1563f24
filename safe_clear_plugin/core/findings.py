"""What a clear would cause, beyond what it clears: small rules, listed in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from safe_clear_plugin.core.words import count

Level = Literal["info", "warn", "acknowledge", "refuse"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One consequence: ``count`` is how many objects it concerns."""

    code: str
    level: Level
    title: str
    detail: str
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings are derived from: numbers counted on the stored plan, and the DAG's own state."""

    dag_id: str
    dag_is_paused: bool
    dag_is_stale: bool
    runs_to_queue: int
    terminated: int
    left_out: int
    pending: int
    """Task instances in the plan that wait in an executor, on a trigger or for a person."""
    not_undoable: int = 0
    """Task instances in the plan whose state before the clear no undo can bring back."""
    created: int = 0
    restored: int = 0
    removed: int = 0
    latest_version: int | None = None
    unexpanded: int = 0
    """Relatives of a map index that have not been expanded in their run."""


Rule = Callable[[Facts], Finding | None]


def running_terminated(facts: Facts) -> Finding | None:
    """Running task instances that the clear kills."""
    if not facts.terminated:
        return None
    return Finding(
        "running_terminated",
        "warn",
        f"{count(facts.terminated, 'running task instance')} will be terminated",
        "Airflow kills their processes and starts them again as a new try. "
        "To let them finish, choose “Leave out” under “What runs now”.",
        facts.terminated,
    )


def running_left_out(facts: Facts) -> Finding | None:
    """Running task instances that match but stay."""
    if not facts.left_out:
        return None
    return Finding(
        "running_left_out",
        "warn",
        f"{count(facts.left_out, 'running task instance')} left out",
        "They match the selection but are running, so they go on untouched. "
        "Clear them once they are done, or choose “Terminate” under “What runs now”.",
        facts.left_out,
    )


def pending_cleared(facts: Facts) -> Finding | None:
    """Queued, deferred and waiting task instances: work may be under way outside Airflow."""
    if not facts.pending:
        return None
    return Finding(
        "pending_cleared",
        "warn",
        f"{count(facts.pending, 'task instance')} queued, deferred or awaiting input",
        "An executor may be about to start a queued one, and a deferred one may wait for a job outside "
        "Airflow, which a clear does not cancel.",
        facts.pending,
    )


def not_undoable(facts: Facts) -> Finding | None:
    """Task instances that an undo will not put back, because something outside the metadata DB is at work."""
    if not facts.not_undoable:
        return None
    return Finding(
        "not_undoable",
        "info",
        f"{count(facts.not_undoable, 'task instance')} cannot be put back by an undo",
        "What is queued, running, restarting, deferred or awaiting input is with an executor, a trigger or a "
        "person, who do not come back. Their dag runs then keep going too.",
        facts.not_undoable,
    )


def dag_paused(facts: Facts) -> Finding | None:
    """A paused DAG: nothing that is cleared starts."""
    if not facts.dag_is_paused:
        return None
    return Finding(
        "dag_paused",
        "warn",
        f"{facts.dag_id} is paused, so nothing will start",
        "The clear is done at once, but the scheduler starts no task of a paused DAG. Unpause it for that.",
        facts.runs_to_queue,
    )


def dag_stale(facts: Facts) -> Finding | None:
    """A DAG whose file is gone: the scheduler passes it over, as it does a paused one."""
    if not facts.dag_is_stale:
        return None
    return Finding(
        "dag_stale",
        "warn",
        f"{facts.dag_id} is no longer in the DAG files, so nothing will start",
        "The scheduler passes over a DAG that the DAG processor has not seen for a while. "
        "Look at the DAG's import errors, or bring its file back.",
        facts.runs_to_queue,
    )


def moves_to_latest(facts: Facts) -> Finding | None:
    """Task instances that appear, return or go because a run moves to the latest DAG version."""
    total = facts.created + facts.restored + facts.removed
    if not total:
        return None
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (facts.created, "created"),
            (facts.restored, "restored"),
            (facts.removed, "marked removed"),
        )
        if number
    ]
    version = f" (version {facts.latest_version})" if facts.latest_version else ""
    return Finding(
        "moves_to_latest",
        "warn",
        f"{count(total, 'more task instance')} change with the DAG version: {', '.join(parts)}",
        f"Runs that move to the latest DAG version{version} get that version's tasks. "
        "The rows are in the table below.",
        total,
    )


def unexpanded_relatives(facts: Facts) -> Finding | None:
    """Relatives of a map index whose mapping is not known in the run."""
    if not facts.unexpanded:
        return None
    return Finding(
        "unexpanded_relatives",
        "info",
        f"{count(facts.unexpanded, 'related task')} not expanded yet",
        "Their mapping is not known in this run, so the one task instance that stands for all of them "
        "(map index -1) is taken.",
        facts.unexpanded,
    )


RULES: tuple[Rule, ...] = (
    running_terminated,
    running_left_out,
    pending_cleared,
    not_undoable,
    dag_paused,
    dag_stale,
    moves_to_latest,
    unexpanded_relatives,
)


def find(facts: Facts) -> Iterator[Finding]:
    """Yield what the rules have to say, in the order in which they are listed."""
    for rule in RULES:
        finding = rule(facts)
        if finding is not None:
            yield finding
