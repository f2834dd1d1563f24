"""What a piece of work costs its process and the database: time, CPU, memory, statements, transactions."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExecutionContext
from sqlalchemy.engine.interfaces import ExecuteStyle

MEGABYTE = 1024
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
SINCE = "bench_since"


@dataclass
class Measured:
    """What was found; `statements` counts an executemany once, `round_trips` as often as it is sent."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    statements: int = 0
    round_trips: int = 0
    commits: int = 0
    longest_txn_seconds: float = 0.0


class Statements:
    """Counts what goes to the database, and makes each round trip as slow as over a network."""

    def __init__(self, found: Measured, delay: float) -> None:
        """Count into ``found``; ``delay`` is in seconds."""
        self.found = found
        self.delay = delay
        self.listeners = (
            ("before_cursor_execute", self.before),
            ("commit", self.committed),
            ("rollback", self.ended),
        )

    def __enter__(self) -> None:
        for name, listener in self.listeners:
            event.listen(Engine, name, listener)

    def __exit__(self, *_: object) -> None:
        for name, listener in self.listeners:
            event.remove(Engine, name, listener)

    def before(  # noqa: PLR0917 - SQLAlchemy calls it so
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: ExecutionContext,
        executemany: bool,
    ) -> None:
        """Count a statement."""
        del cursor, statement
        connection.info.setdefault(SINCE, time.perf_counter())
        trips = round_trips(connection, parameters, context) if executemany else 1
        self.found.statements += 1
        self.found.round_trips += trips
        self._wait(trips)

    def committed(self, connection: Connection) -> None:
        """Count a commit, which is a round trip too."""
        self.found.commits += 1
        self.ended(connection)

    def ended(self, connection: Connection) -> None:
        """Note how long a transaction was open since its first statement."""
        since = connection.info.pop(SINCE, None)
        if since is None:
            return
        self._wait(1)
        open_for = time.perf_counter() - since
        self.found.longest_txn_seconds = max(self.found.longest_txn_seconds, open_for)

    def _wait(self, trips: int) -> None:
        if self.delay:
            time.sleep(self.delay * trips)


def round_trips(connection: Connection, parameters: Any, context: Any) -> int:
    """Return how often the driver goes to the server for an executemany.

    SQLAlchemy itself cuts a multi-row INSERT into statements; psycopg2 joins the rest page by page, psycopg 3
    sends it as a pipeline, whose answers it reads at the end.
    """
    if context.execute_style is ExecuteStyle.INSERTMANYVALUES:
        return 1
    if connection.dialect.driver == "psycopg" and psycopg.Pipeline.is_supported():
        return 1
    mode = getattr(connection.dialect, "executemany_mode", None)
    page = getattr(connection.dialect, "executemany_batch_page_size", None) or 100
    return -(-len(parameters) // page) if mode and "BATCH" in mode.name else len(parameters)


@contextmanager
def measured(delay_ms: float = 0) -> Iterator[Measured]:
    """Measure the block; what it found is complete when the block has ended."""
    found = Measured()
    with Statements(found, delay_ms / 1000):
        memory = _settle_memory()
        server = _server_cpu()
        cpu, start = time.process_time(), time.perf_counter()
        yield found
        found.seconds = time.perf_counter() - start
        found.cpu_seconds = time.process_time() - cpu
        found.server_cpu_seconds = _server_cpu() - server
        found.peak_mb = (_memory("VmHWM") - memory) / MEGABYTE


def _settle_memory() -> int:
    """Give unused memory back and begin a new peak, so that the peak is this work's; returns kilobytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR_REFS.write_text(RESET_PEAK)
    return _memory("VmRSS")


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _server_cpu() -> float:
    """Return the CPU time of the database server's processes, ended ones included."""
    server = psutil.Process(int(os.environ["BENCH_POSTGRESQL_PID"]))
    return float(sum(server.cpu_times()[:4]) + sum(map(_process_cpu, server.children())))


def _process_cpu(process: psutil.Process) -> float:
    """Return the CPU time of a process; that of one that has ended counts as its parent's children's."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0
