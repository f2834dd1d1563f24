"""The time limit of a command that waits for a clear and its re-runs, together."""

from __future__ import annotations

import time

from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.core.formats import limit


class Deadline:
    """A deadline ``seconds`` after it is made; without seconds there is no deadline."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def sleep(self, seconds: float, what: str, plan_id: str) -> None:
        """Sleep that long, if the sleep ends in time.

        :raises CommandError: when it would end too late; ``what`` names the thing that takes too long
        """
        if self._end is not None and time.monotonic() + seconds > self._end:
            raise CommandError(
                f"{what} not done after {limit(self._seconds or 0)}.",
                f"Airflow goes on with it. Wait again with `safe-clear status {plan_id} --wait`.",
            )
        time.sleep(seconds)
