"""Task instances that a worker, an executor, a trigger or a person is handling now."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.states import PENDING_STATES
from safe_clear_plugin.core.undo import RESTORABLE_STATES
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext


@dataclass(frozen=True, slots=True)
class RunningFacts:
    """Task instances of the plan with work outside the metadata database."""

    terminated: int = 0
    left_out: int = 0
    pending: int = 0
    """Task instances that wait in an executor, for a trigger or for a person."""
    not_undoable: int = 0
    """Task instances that an undo cannot restore, because of their state before the clear."""


def collect_facts(plan: PlanContext) -> RunningFacts:
    """Count by effect and state."""
    return RunningFacts(
        terminated=plan.total(Effect.TERMINATE),
        left_out=plan.total(Effect.LEAVE_OUT),
        pending=plan.total(Effect.CLEAR, states=PENDING_STATES),
        not_undoable=sum(
            change.count
            for change in plan.changes
            if change.effect in CLEARED_EFFECTS and change.before and change.before not in RESTORABLE_STATES
        ),
    )


def running_terminated(facts: RunningFacts) -> Finding | None:
    """Find running task instances that the clear ends."""
    if not facts.terminated:
        return None
    return Finding(
        "running_terminated",
        "acknowledge",
        f"{count(facts.terminated, 'running task instance')} will be terminated",
        "Airflow will end their processes and start a new try of each. "
        "To let them finish, choose “Leave out” under “Running task instances”.",
        facts.terminated,
        filter={"effect": Effect.TERMINATE.value},
    )


def running_left_out(facts: RunningFacts) -> Finding | None:
    """Find running task instances that match the selection but are not cleared."""
    if not facts.left_out:
        return None
    return Finding(
        "running_left_out",
        "warn",
        f"{count(facts.left_out, 'running task instance')} will be left out",
        "They match the selection, but they are running. They will finish and are not cleared. "
        "Clear them once they have finished, or choose “Terminate” under “Running task instances”.",
        facts.left_out,
        filter={"effect": Effect.LEAVE_OUT.value},
    )


def pending_cleared(facts: RunningFacts) -> Finding | None:
    """Find queued, deferred and waiting task instances, which may have work outside Airflow."""
    if not facts.pending:
        return None
    return Finding(
        "pending_cleared",
        "warn",
        f"{count(facts.pending, 'cleared task instance')} queued, deferred or awaiting input",
        "An executor may be about to start the queued ones. A deferred one may wait for a job outside "
        "Airflow, and a clear does not cancel the job.",
        facts.pending,
        rows=True,
    )


def not_undoable(facts: RunningFacts) -> Finding | None:
    """Find task instances that an undo cannot restore."""
    if not facts.not_undoable:
        return None
    return Finding(
        "not_undoable",
        "info",
        f"An undo can't restore {count(facts.not_undoable, 'task instance')}",
        "Queued, running, restarting, deferred and awaiting-input task instances have been handed to an "
        "executor, a trigger or a person, so an undo cannot restore them. Their runs also continue.",
        facts.not_undoable,
        rows=True,
    )


AREA = Area(
    "running",
    collect_facts,
    (
        Check(
            "running_terminated",
            "running task instances that will be terminated",
            running_terminated,
            is_grave=True,
        ),
        Check("running_left_out", "running task instances that will be left out", running_left_out),
        Check("pending_cleared", "queued, deferred and waiting task instances", pending_cleared),
        Check("not_undoable", "task instances that an undo can't restore", not_undoable),
    ),
    has_time_limit=False,
)
