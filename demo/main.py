"""Runs a whole Airflow with Safe Clear, demo DAGs and 30 days of history.

Usage: ``python demo/main.py --port 8080``.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import IO

import screen
from components import Component, Supervisor
from environment import COMPONENT_LOGS, HOME, REPOSITORY, USERS_STEP, component_environment, reachable
from health import API_SERVER, unhealthy

#: How long the components may take to become healthy.
PATIENCE = 300


class DemoError(Exception):
    """Something that the user can put right; the message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is interrupted; return the exit code."""
    options = _parse(arguments)
    interrupted = _interruption()
    try:
        _check_port(options.host, options.port)
        with _only_demo() as lock:
            return _run(options, lock, interrupted)
    except DemoError as error:
        screen.say(f"demo: {error}")
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run Airflow with Safe Clear, demo DAGs and their history.")
    parser.add_argument("--port", type=int, default=8080, help="port of the web UI (default: 8080)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1; 0.0.0.0 opens the demo to your network)",
    )
    options = parser.parse_args(arguments)
    if not 0 < options.port < 65536:
        parser.error(f"--port {options.port} is not between 1 and 65535")
    return options


def _interruption() -> threading.Event:
    """Return an event that Ctrl-C, SIGTERM or the closing of the terminal sets."""
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: interrupted.set())
    return interrupted


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DemoError(
                f"port {port} cannot be used ({error.strerror}); nothing was started. "
                f"Choose another one: make demo PORT={port + 1 if port < 65535 else 8080}"
            ) from error


def _only_demo() -> IO[str]:
    """Return an open file whose lock says that a demo is running here."""
    try:
        HOME.mkdir(mode=0o755, exist_ok=True)
        lock = (HOME / "lock").open("a")
    except OSError as error:
        raise DemoError(f"{HOME} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DemoError(f"another demo is running with the data in {HOME}; stop that one first") from error
    return lock


def _run(options: argparse.Namespace, lock: IO[str], interrupted: threading.Event) -> int:
    started = time.monotonic()
    environment = component_environment(options.host, options.port)
    supervisor = Supervisor(environment, keep_open=[lock.fileno()])
    try:
        if not (
            _prepare(supervisor, options, interrupted) and _start_others(supervisor, options, interrupted)
        ):
            return 1
        if not interrupted.is_set():
            url = f"http://localhost:{options.port}"
            screen.welcome(url, time.monotonic() - started, COMPONENT_LOGS.relative_to(REPOSITORY))
        while not interrupted.wait(1):
            if _report_dead(supervisor):
                return 1
        return 0
    finally:
        screen.say("demo: stopping")
        supervisor.stop()
        screen.say("demo: stopped")


def _prepare(supervisor: Supervisor, options: argparse.Namespace, interrupted: threading.Event) -> bool:
    """Make what is missing of metadata DB, users and history; say whether that worked.

    The API server starts as soon as there are users: it imports while the history is written.
    """
    screen.say("demo: preparing the metadata DB")
    script = str(REPOSITORY / "demo" / "prepare.py")
    steps = Component("preparation", [script], COMPONENT_LOGS / "prepare.log", ends=True)
    supervisor.start(steps)
    told = 0
    while not interrupted.wait(0.2):
        ended = steps.exit_code is not None
        for line in steps.lines("demo: ")[told:]:
            told += 1
            screen.say(line)
            if USERS_STEP in line:
                address = ("--host", options.host, "--port", str(options.port))
                _start(supervisor, API_SERVER, *address, "--workers", "1")
        if ended and steps.exit_code == 0:
            supervisor.components.remove(steps)
            return True
        if _report_dead(supervisor):
            return False
    return True


def _start_others(supervisor: Supervisor, options: argparse.Namespace, interrupted: threading.Event) -> bool:
    """Start the other components and wait until all are healthy; say whether that worked."""
    if interrupted.is_set():
        return True
    since = datetime.now(timezone.utc)
    deadline = time.monotonic() + PATIENCE
    _start(supervisor, "dag-processor")
    _start(supervisor, "triggerer", "--skip-serve-logs")
    scheduler_started = False
    while missing := unhealthy(reachable(options.host), options.port, since):
        if interrupted.wait(0.5):
            return True
        if _report_dead(supervisor):
            return False
        if not scheduler_started and API_SERVER not in missing:
            # Not earlier: a task that finds no API server to report to fails.
            _start(supervisor, "scheduler", "--skip-serve-logs")
            scheduler_started = True
        if time.monotonic() > deadline:
            screen.say(f"demo: not healthy after {PATIENCE} s: {', '.join(missing)}; see {COMPONENT_LOGS}")
            return False
    return True


def _start(supervisor: Supervisor, name: str, *arguments: str) -> None:
    screen.say(f"demo: starting {name}")
    supervisor.start(Component(name, ["-m", "airflow", name, *arguments], COMPONENT_LOGS / f"{name}.log"))


def _report_dead(supervisor: Supervisor) -> bool:
    """Show the log of a component that has ended by itself; say whether there is one."""
    dead = supervisor.dead()
    if dead is None or dead.exit_code is None:
        return False
    screen.component_died(dead.name, dead.exit_code, dead.log.relative_to(REPOSITORY), dead.tail())
    return True


if __name__ == "__main__":
    sys.exit(main())
