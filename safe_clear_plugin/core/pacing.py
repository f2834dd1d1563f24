"""How many task instances a clearing transaction takes, so that nobody waits long for its locks."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = 0.5
"""What a transaction should take: the scheduler and the workers wait for its rows no longer than that."""
FIRST = 200
"""Task instances of the first transaction of a process, which knows nothing of the database yet."""
LEAST = 100
"""Below this a transaction costs more than what is done in it."""


@dataclass(slots=True)
class Pace:
    """What one process has learned of its database.

    Several threads may share one: a lost update costs nothing, the next transaction teaches the same.
    """

    seconds_each: float = SECONDS / FIRST

    def size(self, most: int) -> int:
        """Return how many task instances to take, never more than ``most``."""
        return min(most, max(LEAST, int(SECONDS / self.seconds_each)))

    def learn(self, task_instances: int, seconds: float) -> None:
        """Take note of how long a transaction over so many task instances took."""
        if task_instances and seconds > 0:
            self.seconds_each = (self.seconds_each + seconds / task_instances) / 2
