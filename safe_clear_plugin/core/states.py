"""The states of task instances and dag runs, and the sets of them that matter to a clear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

NO_STATE = "none"
"""The name of the state of a task instance without one, as in Airflow's REST API."""

TaskInstanceState = Literal[
    "none",
    "scheduled",
    "queued",
    "running",
    "restarting",
    "deferred",
    "awaiting_input",
    "up_for_retry",
    "up_for_reschedule",
    "success",
    "failed",
    "upstream_failed",
    "skipped",
    "removed",
]
RunState = Literal["queued", "running", "success", "failed"]

TASK_INSTANCE_STATES: tuple[TaskInstanceState, ...] = get_args(TaskInstanceState)
RUN_STATES: tuple[RunState, ...] = get_args(RunState)

RUNNING_STATES = ("running", "restarting")
"""Task instances with a live process; ``running=leave_out`` keeps them out of a clear."""

PENDING_STATES = ("queued", "deferred", "awaiting_input")
"""Task instances that an executor, a trigger or a person has, without a process of their own."""

STAYING_STATES = ("failed", "upstream_failed", "skipped")
"""Finished task instances that a re-run of what lies upstream leaves as they are."""

FAILED_STATES = ("failed", "upstream_failed")
"""Task instances without a result: their own failure, or that of one upstream."""

FINISHED_STATES = ("success", *STAYING_STATES)
"""Task instances that the scheduler has done with (``TaskInstanceState.finished``, without ``removed``)."""

DONE_STATES = (*FINISHED_STATES, "removed")
"""``airflow.utils.state.State.finished``."""

FINISHED_RUN_STATES = ("success", "failed")
UNFINISHED_RUN_STATES = ("queued", "running")


def state_name(state: str | None) -> str:
    """Return a state as Airflow's UI names it: ``Upstream Failed``, ``Up For Retry``, ``No Status``."""
    if state in (None, NO_STATE):
        return "No Status"
    return str(state).replace("_", " ").title()


def counted_states(counts: Iterable[Sequence[Any]]) -> str:
    """Return ``17 Failed, 3 No Status`` from pairs of state and count."""
    return ", ".join(f"{number:,} {state_name(state)}" for state, number in counts)
