"""When the scheduler's lock is held, as seen from inside."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import locks

Interval = tuple[float, float]


class Recorder:
    """From when to when the scheduler's lock was held; a moment means the same in each process."""

    def __init__(self) -> None:
        """Begin with none."""
        self.held: list[Interval] = []
        self.since: float | None = None
        self.real = locks.lock_out_scheduler

    def __enter__(self) -> Recorder:
        """Watch from here on."""

        def lock_out(session: Session) -> None:
            self.real(session)
            self.since = time.monotonic()

        locks.lock_out_scheduler = lock_out
        event.listen(Session, "after_commit", self.ended)
        event.listen(Session, "after_rollback", self.ended)
        return self

    def ended(self, _: Session) -> None:
        """Take note that a transaction has ended."""
        if self.since is not None:
            self.held.append((self.since, time.monotonic()))
            self.since = None

    def __exit__(self, *_: Any) -> None:
        """Watch no more."""
        locks.lock_out_scheduler = self.real
        event.remove(Session, "after_commit", self.ended)
        event.remove(Session, "after_rollback", self.ended)


def shares(held: Iterable[Interval]) -> list[float]:
    """Return which share of the time from each holding of the lock to the next it was held."""
    held = sorted(held)
    return [(end - begin) / (next_begin - begin) for (begin, end), (next_begin, _) in pairwise(held)]
