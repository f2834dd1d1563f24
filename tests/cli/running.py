"""Runs ``safe-clear`` as a shell does: with pipes, or in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.environment import without_airflow_settings
from tests.support.server import REPOSITORY

COMMAND = (sys.executable, "-m", "safe_clear_plugin.cli")
PATIENCE = 120
OF_THE_MACHINE = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR")


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code and what it printed."""

    code: int
    out: str
    err: str = ""

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class SafeClear:
    """The command line with an environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """Run in ``folder``; ``environment`` is added to the machine's without any settings of Airflow."""
        inherited = {
            name: value
            for name, value in without_airflow_settings(dict(os.environ)).items()
            if name not in OF_THE_MACHINE and not name.startswith("SAFE_CLEAR")
        }
        self.folder = folder
        self.environment = {
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "TERM": "xterm-256color",
            **environment,
        }

    def having(self, **environment: str | None) -> SafeClear:
        """Return the same with other variables; ``None`` takes one away."""
        found = {**self.environment, **environment}
        return SafeClear(self.folder, **{name: value for name, value in found.items() if value is not None})

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command without a terminal."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A background job of a shell ignores it, and hands that on.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 (no threads here)
        )

    def __call__(self, *arguments: object) -> Done:
        """Run a command without a terminal, and check that it ended without a traceback."""
        return finish(self.start(*arguments))

    def in_terminal(self, *arguments: object, answers: tuple[str, ...] = ()) -> Done:
        """Run a command in a terminal, and answer each question with the next of ``answers``."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(COMMAND[0], [*COMMAND, *map(str, arguments)], self.environment)
        shown = _converse(terminal, list(answers))
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return Done(os.waitstatus_to_exitcode(status), shown)


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a command to end."""
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)


def _converse(terminal: int, answers: list[str]) -> str:
    """Read what is shown until the end; a line that ends in ``: `` or a blank is a question."""
    shown, asked_at, end = "", 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.3)
        if ready:
            with contextlib.suppress(OSError):
                if data := os.read(terminal, 65536):
                    shown += data.decode(errors="replace")
                    continue
            return shown
        if answers and shown[asked_at:].endswith(" "):
            os.write(terminal, f"{answers.pop(0)}\n".encode())
            asked_at = len(shown)
    raise TimeoutError(shown)
