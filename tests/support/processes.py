"""Child processes that end with the tests, even when the tests are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def stop_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return a ``preexec_fn`` that has the kernel send the child a signal when this process dies.

    The function calls into the kernel and nothing else, so that threads of the parent cannot make it hang.
    """

    def ask_kernel() -> None:
        if _LIBC:
            _LIBC.prctl(PR_SET_PDEATHSIG, int(number))

    return ask_kernel


def stop_groups(
    leaders: Iterable[subprocess.Popen[bytes]], patience: float = 8, *, by_force: bool = False
) -> None:
    """Stop process groups by their leaders: politely together, then by force, or so at once."""
    leaders = list(leaders)
    for leader in leaders:
        _signal_group(leader, signal.SIGKILL if by_force else signal.SIGTERM)
    deadline = time.monotonic() + patience
    for leader in leaders:
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(max(0.0, deadline - time.monotonic()))
        _signal_group(leader, signal.SIGKILL)
        leader.wait(10)


def _signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
