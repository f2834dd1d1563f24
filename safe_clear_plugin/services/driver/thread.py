"""The driver as a thread of an api-server process."""

from __future__ import annotations

import threading

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.services import wake_up
from safe_clear_plugin.services.driver.loop import Driver

LONGEST_END = 20.0
"""Seconds that a server waits for the current batch when it ends; after that the batch is rolled back."""


class DriverThread:
    """A driver that begins and ends with the server, in the process that serves: forks keep no threads."""

    def __init__(self) -> None:
        """Make it; nothing runs yet."""
        self.driver = Driver()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self.driver.run, args=(self._stop,), name="safe-clear-driver", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current batch, and give up all leases."""
        self._stop.set()
        wake_up.wake_up()
        self._thread.join(LONGEST_END)


def start_thread() -> DriverThread | None:
    """Start a driver in this process, unless ``[safe_clear] driver`` says that it runs elsewhere."""
    if not config.drives_in_api_server():
        return None
    thread = DriverThread()
    thread.start()
    return thread
