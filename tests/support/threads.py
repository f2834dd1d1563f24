"""Threads of Safe Clear that go on beside a request."""

from __future__ import annotations

import threading

CLEAN_UP = "safe-clear-clean-up"
TIMEOUT = 60


def wait_for_clean_up() -> None:
    """Wait until old plans have been removed."""
    for thread in threading.enumerate():
        if thread.name == CLEAN_UP:
            thread.join(TIMEOUT)
            assert not thread.is_alive()
