"""Starts Airflow's components as child processes, notices when one dies, and leaves none behind.

Every component gets a session and process group of its own, so that Ctrl-C in the terminal reaches the demo
only, which then stops the components in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TAIL_LINES = 25


@dataclass
class Component:
    """A child process whose output goes to a file."""

    name: str
    arguments: Sequence[str]
    log: Path
    patience: float = 10
    #: Whether it is meant to end, with exit code 0.
    ends: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str], keep_open: Sequence[int] = ()) -> None:
        """Start it with the Python that runs the demo."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=keep_open,
            )

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.process.poll() if self.process else None

    def lines(self, prefix: str = "") -> list[str]:
        """Return the complete lines of its log that begin with ``prefix``."""
        complete, _, _ = self.log.read_text(errors="replace").rpartition("\n")
        return [line for line in complete.splitlines() if line.startswith(prefix)]

    def tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.lines()[-TAIL_LINES:])

    def family(self) -> list[psutil.Process]:
        """Return the process and all that descend from it; tasks, for one, leave its process group."""
        if self.process is None:
            return []
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


@dataclass
class Supervisor:
    """The components of one demo."""

    environment: dict[str, str]
    #: File descriptors that the components keep open; a lock on one lasts until the last of them has ended.
    keep_open: Sequence[int] = ()
    components: list[Component] = field(default_factory=list)

    def start(self, component: Component) -> None:
        """Start a component and look after it from now on."""
        self.components.append(component)
        component.start(self.environment, self.keep_open)

    def dead(self) -> Component | None:
        """Return a component that has ended by itself and should not have, if there is one."""
        return next(
            (c for c in self.components if c.exit_code is not None and not (c.ends and c.exit_code == 0)),
            None,
        )

    def stop(self) -> None:
        """Stop the API server, started first, last: tasks that end still report to it."""
        first, rest = self.components[:1], self.components[1:]
        self.components = []
        for group in (rest, first):
            _stop(group)


def _stop(components: Sequence[Component]) -> None:
    """Ask the components and their descendants to end, and kill what has not ended in time."""
    families = {process for component in components for process in component.family()}
    for process in families:
        _send(process, signal.SIGTERM)
    deadline = time.monotonic() + max((component.patience for component in components), default=0)
    while time.monotonic() < deadline:
        for component in components:
            # What was forked since, or has lost its parent, would otherwise stay behind.
            families.update(component.family())
            _ = component.exit_code
        if not any(_lives(process) for process in families):
            break
        time.sleep(0.2)
    for process in families:
        _send(process, signal.SIGKILL)
    for component in components:
        if component.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(component.process.pid, signal.SIGKILL)
            component.process.wait()


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
