"""The effects of a clear on a task instance, and the sets of effects that matter."""

from __future__ import annotations

from safe_clear_plugin.core.codes import Code


class Effect(Code):
    """An effect of a clear on a task instance."""

    CLEAR = "clear"
    TERMINATE = "terminate"
    """Running: Airflow ends its process, then it re-runs."""
    LEAVE_OUT = "leave_out"
    """Matched by the selection, but running: it stays as it is."""
    CREATE = "create"
    """The dag run moves to the latest DAG version, which has a task that the run has not."""
    RESTORE = "restore"
    """Was ``removed``; the latest DAG version has its task."""
    REMOVE = "remove"
    """The latest DAG version has not its task: the state becomes ``removed``."""
    SCHEDULER_CREATES = "scheduler_creates"
    """Not by the clear, but by the scheduler when it next looks at the run, because of the clear."""
    SCHEDULER_RESTORES = "scheduler_restores"
    SCHEDULER_REMOVES = "scheduler_removes"

    @property
    def shown(self) -> Effect:
        """The effect without its cause, a clear or the scheduler."""
        return SHOWN_AS.get(self, self)


SHOWN_AS = {
    Effect.SCHEDULER_CREATES: Effect.CREATE,
    Effect.SCHEDULER_RESTORES: Effect.RESTORE,
    Effect.SCHEDULER_REMOVES: Effect.REMOVE,
}

SCHEDULER_EFFECTS = tuple(SHOWN_AS)
"""Changes that the scheduler makes because of the clear: foreseen, but not verified with it."""

CLEARED_EFFECTS = (Effect.CLEAR, Effect.TERMINATE)
"""Handed to Airflow's ``clear_task_instances``."""

MOVED_EFFECTS = (Effect.CREATE, Effect.RESTORE, Effect.REMOVE)
"""Of a dag run's move to the latest DAG version."""

COVERED_EFFECTS = (*CLEARED_EFFECTS, *MOVED_EFFECTS)
"""All that leave a task instance changed."""

PLANNED_EFFECTS = (*COVERED_EFFECTS, *SCHEDULER_EFFECTS)
"""All that leave a task instance changed, by the clear or because of it."""

DAG_CHANGE_EFFECTS = (*MOVED_EFFECTS, *SCHEDULER_EFFECTS)
"""Because the run's DAG has other tasks than the run, by the clear or because of it."""

CREATING_EFFECTS = (Effect.CREATE, Effect.SCHEDULER_CREATES)
"""Effects of task instances that are not there before the clear."""

REMOVING_EFFECTS = (Effect.REMOVE, Effect.SCHEDULER_REMOVES)
"""Effects of task instances that become ``removed``."""

PENDING_EFFECTS = (
    *CLEARED_EFFECTS,
    Effect.CREATE,
    Effect.RESTORE,
    Effect.SCHEDULER_CREATES,
    Effect.SCHEDULER_RESTORES,
)
"""After which the scheduler looks at a task instance."""
