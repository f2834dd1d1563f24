"""What is at work right now."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import count


@dataclass(frozen=True, slots=True)
class RunningFacts:
    """Task instances of the plan that something outside the metadata DB may be at work on."""

    terminated: int = 0
    left_out: int = 0
    pending: int = 0
    """Those that wait in an executor, on a trigger or for a person."""
    not_undoable: int = 0
    """Those whose state before the clear no undo can bring back."""


def running_terminated(facts: RunningFacts) -> Finding | None:
    """Running task instances that the clear kills."""
    if not facts.terminated:
        return None
    return Finding(
        "running_terminated",
        "acknowledge",
        f"{count(facts.terminated, 'running task instance')} will be terminated",
        "Airflow kills their processes and starts them again as a new try. "
        "To let them finish, choose “Leave out” under “What runs now”.",
        facts.terminated,
    )


def running_left_out(facts: RunningFacts) -> Finding | None:
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


def pending_cleared(facts: RunningFacts) -> Finding | None:
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


def not_undoable(facts: RunningFacts) -> Finding | None:
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


CHECKS: tuple[Check[RunningFacts], ...] = (
    Check("running_terminated", "running task instances that are killed", running_terminated, is_grave=True),
    Check("running_left_out", "running task instances that are left out", running_left_out),
    Check("pending_cleared", "queued, deferred and waiting task instances", pending_cleared),
    Check("not_undoable", "task instances that no undo brings back", not_undoable),
)
