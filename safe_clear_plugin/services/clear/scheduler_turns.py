"""Turns at the scheduler's lock: each transaction that held it leaves it to the schedulers for as long again.

While it is held no scheduler queues anything, for any DAG. However many drivers there are, it is held half of
the time at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import locks
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.services import failures
from safe_clear_plugin.storage import scheduler_pause

WHILE_ANOTHER = 0.25
"""Seconds after which to try again while another transaction has its turn."""
FOR_THE_COMMIT = 0.05
"""Seconds that a commit is thought to take, until it is known."""


class NotYet(Exception):
    """It is the schedulers' turn, or somebody else's; nothing was done. ``seconds`` is how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.3f} s")
        self.seconds = seconds


class Turn:
    """One transaction's turn at the scheduler's lock, which it need not take."""

    def __init__(self) -> None:
        self._since: float | None = None

    def take(self, session: Session) -> None:
        """Make sure that the lock may be taken in this transaction, before it locks anything else.

        :raises NotYet: when it may not
        """
        if not scheduler_pause.take_turn(session):
            raise NotYet(WHILE_ANOTHER)
        if left := scheduler_pause.seconds_left(session):
            raise NotYet(left)

    def lock_out_scheduler(self, session: Session) -> None:
        """Take the lock, for as long as the transaction lasts."""
        locks.lock_out_scheduler(session)
        self._since = time.monotonic()

    def leave(self, session: Session) -> None:
        """Say right before the commit for how long the lock is then to be left alone, if it was taken."""
        if self._since is not None:
            scheduler_pause.extend(self.held + 2 * FOR_THE_COMMIT, session)

    def end(self) -> None:
        """Say it again once the transaction has ended, when it is known how long it took, failed ones too."""
        if self._since is None:
            return
        held = self.held
        try:
            with new_session() as session:
                scheduler_pause.extend(held, session)
        except OperationalError as error:
            # The transaction has ended already; without this note, only the next pause is shorter.
            failures.explain(error, "noting how long the scheduler's lock was held")

    @property
    def held(self) -> float:
        """Seconds since the lock was taken, 0 if it was not."""
        return time.monotonic() - self._since if self._since is not None else 0.0


@contextmanager
def turn() -> Iterator[Turn]:
    """Give one transaction, which begins and ends inside, a turn."""
    one = Turn()
    try:
        yield one
    finally:
        one.end()
