"""The driver: takes plans in progress, one batch at a time, until it is told to end."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from threading import Event
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
)

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.services import availability, failures, wake_up
from safe_clear_plugin.services.driver import steps
from safe_clear_plugin.services.driver.steps import OutOfTurn, StepFailed
from safe_clear_plugin.services.webhook.sender import Sender
from safe_clear_plugin.storage.driver import leases

POLL = 2.0
"""Seconds after which an idle driver looks for plans: another api-server may have confirmed one."""
SHORTEST_WAIT = 0.05
"""Seconds before it looks again for a step that is due and that another driver may have."""
SHARE = 0.1
"""Of the time that a batch took, how much is left to others after it: requests of this process, and writers
of a SQLite database."""
LONGEST_PAUSE = 0.25
LONGEST_BACK_OFF = 30.0
"""Seconds at most between two tries while the database cannot be reached."""


def new_name() -> str:
    """Return a name for a driver, which tells where it runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Driver:
    """Carries plans through in the name of those who confirmed them."""

    def __init__(self) -> None:
        """Take a name of its own."""
        self.name = new_name()
        self._failed: dict[UUID, int] = {}
        self._due: dict[UUID, float] = {}

    def run_once(self, only: UUID | None = None) -> bool:
        """Take one step of the plan that has waited longest, or of this one. Says whether there was one."""
        with new_session() as session:
            plan_id = leases.take_next(self.name, session, only)
        if plan_id is None:
            return False
        self._due.pop(plan_id, None)
        try:
            seconds = steps.take_step(plan_id, self.name, self._failed.get(plan_id, 0))
        except StepFailed as failed:
            self._failed[plan_id] = self._failed.get(plan_id, 0) + 1
            seconds = failed.seconds
        except OutOfTurn as out:
            seconds = out.seconds
        else:
            self._failed.pop(plan_id, None)
        if seconds:
            self._due[plan_id] = time.monotonic() + seconds
        return True

    def run_until_idle(self, timeout: float = 60.0) -> None:
        """Take steps until no plan that this driver began with has any left; for tests, and for one plan.

        :raises TimeoutError: when that takes longer
        """
        end = time.monotonic() + timeout
        while self.run_once() or self._due:
            if time.monotonic() > end:
                raise TimeoutError(f"Plans are still in progress after {timeout} s.")
            time.sleep(min(self._seconds_to_wait(), 0.05) if self._due else 0)

    def run(self, stop: Event, beat: Callable[[], None] = lambda: None) -> None:
        """Take steps until ``stop`` is set: the current batch is finished first, and all leases are given up.

        ``beat`` is called between them, to say that it is alive.
        """
        retry = Retrying(
            # Any error is logged, and the driver stays alive: it does all plans of the server.
            retry=retry_if_exception_type(Exception),
            stop=stop_when_event_set(stop),
            wait=wait_exponential(multiplier=0.5, max=LONGEST_BACK_OFF),
            sleep=sleep_using_event(stop),
            before_sleep=_log,
            retry_error_callback=lambda _: None,
        )
        sender = Sender()
        sender.start()
        try:
            while not stop.is_set():
                beat()
                retry(self._round, stop)
        finally:
            self._release()
            sender.stop()

    def _round(self, stop: Event) -> None:
        availability.require_own_tables()
        begun = time.monotonic()
        if self.run_once():
            stop.wait(min(SHARE * (time.monotonic() - begun), LONGEST_PAUSE))
        elif not stop.is_set():
            wake_up.wait(self._seconds_to_wait())

    def _seconds_to_wait(self) -> float:
        """Return how long to wait for the next step that is known of, or until it is time to look."""
        now = time.monotonic()
        self._due = {plan_id: at for plan_id, at in self._due.items() if at > now - POLL}
        return max(SHORTEST_WAIT, min([POLL, *(at - now for at in self._due.values())]))

    def _release(self) -> None:
        try:
            with new_session() as session:
                leases.release_all(self.name, session)
        except SQLAlchemyError as error:
            # They run out by themselves.
            failures.explain(error, "giving up leases")


def _log(state: RetryCallState) -> None:
    """Log the first of a row of failures: the database may be away for hours."""
    error = state.outcome.exception() if state.outcome else None
    if error is not None and state.attempt_number == 1:
        failures.explain(error, "looking for plans to drive")
