"""Runs the commands of ``airflow safe-clear``."""

from __future__ import annotations

import signal
import threading
from typing import Any

from safe_clear_plugin.airflow_api.platform.job import run_as_job
from safe_clear_plugin.services import wake_up
from safe_clear_plugin.services.driver.loop import Driver


def driver(args: Any) -> None:
    """Carry out confirmed clears and undos until SIGTERM or SIGINT, which end it after the current batch."""
    del args
    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()
        wake_up.wake_up()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    found = Driver()
    run_as_job(lambda beat: found.run(stop, beat))
