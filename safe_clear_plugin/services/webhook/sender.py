"""The thread that sends due messages, separate from the driver: a webhook that hangs delays no clear."""

from __future__ import annotations

import threading

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.services import availability, failures
from safe_clear_plugin.services.webhook.delivery import deliver_due

IDLE_SECONDS = 5.0
"""The pause after a look at which nothing was due: one indexed query."""
FIRST_FAILED_SECONDS, FAILED_SECONDS = 5.0, 60.0
"""The pause after the database failed: at first, and at most. It doubles each time."""
STOP_SECONDS = 1.0
"""The time for which a stop waits for the current attempt. An interrupted attempt is made again elsewhere."""


class Sender:
    """Sends messages from :meth:`start` to :meth:`stop`, if a webhook is configured."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._failed_seconds = 0.0
        """The last wait in a series of failures; 0 if the last attempt did not fail."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send; without a webhook there is no thread and no query."""
        if not config.has_webhook():
            return
        self._thread = threading.Thread(target=self._run, name="safe-clear-webhook", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no further message."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        wait = 0.0
        while not self._ending.wait(wait):
            wait = self._send_next()

    def _send_next(self) -> float:
        """Send a message, and return after how many seconds to look for the next one."""
        try:
            availability.require_own_tables()
            found = deliver_due()
        except Exception as error:  # noqa: BLE001
            # Any error is logged, and this thread stays alive: it sends all messages of the server.
            return self._back_off(error)
        self._failed_seconds = 0.0
        return 0.0 if found else IDLE_SECONDS

    def _back_off(self, error: Exception) -> float:
        """Log the first failure of a series, because the database may be away for hours. Return the wait."""
        if not self._failed_seconds:
            failures.explain(error, "telling the webhook")
        self._failed_seconds = min(self._failed_seconds * 2 or FIRST_FAILED_SECONDS, FAILED_SECONDS)
        return self._failed_seconds
