"""The number of task instances per transaction, so that nobody waits long for its locks."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = 0.5
"""Target duration of a transaction: the scheduler and the workers wait for its rows no longer than that."""
FIRST = 200
"""Task instances of the first transaction of a process, which knows nothing of the database yet."""
MIN_SIZE = 100
"""Below this a transaction costs more than its work."""

MAX_CHANGE = 2
"""By how many times a transaction makes a task instance take longer than thought; the first, also shorter."""


@dataclass(slots=True)
class BatchSizer:
    """The number of task instances per transaction, adjusted to the measured speed of the database.

    Several threads may share one. A lost update does no harm: the next transaction measures the same.
    """

    seconds_each: float | None = None
    """``None`` before anything was learned."""
    ceiling: int | None = None
    """Half of what could not be done in time, doubled by each transaction since that was quick."""

    def next_size(self, most: int) -> int:
        """Return how many task instances to take, never more than ``most``."""
        if self.ceiling is not None:
            most = min(most, self.ceiling)
        if self.seconds_each is None:
            return min(most, FIRST)
        return min(most, max(MIN_SIZE, int(SECONDS / self.seconds_each)))

    def halve(self, task_instances: int) -> None:
        """Limit the next size to half of a size that was too large; the measured speed stays as it is."""
        self.ceiling = max(1, task_instances // 2)

    def observe(self, task_instances: int, seconds: float) -> None:
        """Adjust the size to the duration of a transaction over this number of task instances.

        A small transaction says nothing: most of its time is the fixed cost of any transaction. A single wait
        does not say much either.
        """
        if self.ceiling is not None and seconds <= SECONDS:
            self.ceiling = 2 * self.ceiling if self.ceiling < FIRST else None
        if task_instances <= MIN_SIZE // 2 or seconds <= 0:
            return
        known = self.seconds_each or SECONDS / FIRST
        measured = min(seconds / task_instances, MAX_CHANGE * known)
        if self.seconds_each is None:
            # The next runs may take longer than the first ones.
            measured = max(measured, known / MAX_CHANGE)
        self.seconds_each = (known + measured) / 2 if self.seconds_each else measured

    def forget(self) -> None:
        """Forget all measurements."""
        self.seconds_each = self.ceiling = None
