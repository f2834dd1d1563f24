"""Tells the driver of this process, if it has one, that there is something to do."""

from __future__ import annotations

import threading

_due = threading.Event()


def wake_up() -> None:
    """Have the driver look for plans at once."""
    _due.set()


def wait(seconds: float) -> None:
    """Wait until somebody wakes the driver up, or until the seconds are over."""
    _due.wait(seconds)
    _due.clear()
