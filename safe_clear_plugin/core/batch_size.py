"""How many task instances a clearing transaction takes, so that nobody waits long for its locks."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = 0.5
"""What a transaction should take: the scheduler and the workers wait for its rows no longer than that."""
FIRST = 200
"""Task instances of the first transaction of a process, which knows nothing of the database yet."""
LEAST = 100
"""Below this a transaction costs more than what is done in it."""

MOST_AT_ONCE = 2
"""By how many times a transaction makes a task instance take longer than thought; the first, also shorter."""


@dataclass(slots=True)
class BatchSizer:
    """What one process has learned of its database.

    Several threads may share one: a lost update costs nothing, the next transaction teaches the same.
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
        return min(most, max(LEAST, int(SECONDS / self.seconds_each)))

    def halve(self, task_instances: int) -> None:
        """Take note that so many were too many, which says nothing of how long one of them takes."""
        self.ceiling = max(1, task_instances // 2)

    def observe(self, task_instances: int, seconds: float) -> None:
        """Take note of how long a transaction over so many task instances took.

        A small one says nothing: most of it is what any transaction takes. Nor does a single wait say much.
        """
        if self.ceiling is not None and seconds <= SECONDS:
            self.ceiling = 2 * self.ceiling if self.ceiling < FIRST else None
        if task_instances <= LEAST // 2 or seconds <= 0:
            return
        known = self.seconds_each or SECONDS / FIRST
        measured = min(seconds / task_instances, MOST_AT_ONCE * known)
        if self.seconds_each is None:
            # What comes next may take longer than what came first.
            measured = max(measured, known / MOST_AT_ONCE)
        self.seconds_each = (known + measured) / 2 if self.seconds_each else measured

    def forget(self) -> None:
        """Know as little as at the beginning."""
        self.seconds_each = self.ceiling = None
