"""Processes that are killed at a chosen step of a clear or an undo.

The hooks are here and not in the product: they wrap the functions that the steps are made of. A process is
forked from this one, which has imported Airflow already, and opens database connections of its own.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from airflow import settings
from sqlalchemy import event
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log, clear_runs, locks, related_rows
from safe_clear_plugin.services.driver import steps
from safe_clear_plugin.storage.clear import batches, before_images, drift, status, verification
from safe_clear_plugin.storage.driver import leases
from safe_clear_plugin.storage.tables import scheduler_pause
from safe_clear_plugin.storage.undo import restore, undo_batches
from tests.support.processes import stop_with_parent

Moment = Literal["before", "after"]
Function = tuple[ModuleType, str]
COMMIT = "commit"

CLAIM_STEPS: Mapping[str, Function] = {
    "take the plan": (status, "transition"),
    "compare the whole plan": (drift, "find_drift"),
}
CLEAR_STEPS: Mapping[str, Function] = {
    "begin the batch": (status, "begin_batch"),
    "choose its runs": (batches, "next_batch"),
    "lock the dag runs": (locks, "load_dag_runs"),
    "lock the task instances": (locks, "lock_task_instances"),
    "count related rows": (related_rows, "count_related_rows"),
    "keep the before-images": (before_images, "capture"),
    "Airflow's clear": (clear_runs, "clear_task_instances"),
    "clear": (clear_runs, "clear"),
    "record the new ids": (verification, "record_new_ids"),
    "record the cleared runs": (verification, "record_cleared_runs"),
    "audit": (audit_log, "record"),
    "enter the batch": (batches, "record_batch"),
    "finish the batch": (batches, "finish_batch"),
}
DRIVER_STEPS: Mapping[str, Function] = {
    "take the lease": (leases, "take_next"),
    "take the step": (steps, "take_step"),
}
ASK_STEPS: Mapping[str, Function] = {"ask for the runs": (undo_batches, "request_undo")}
UNDO_STEPS: Mapping[str, Function] = {
    "begin the batch": (undo_batches, "begin_batch"),
    "lock the dag runs": (locks, "lock_dag_runs"),
    "lock out the scheduler": (locks, "lock_out_scheduler"),
    "lock the task instances": (locks, "lock_task_instances"),
    "decide": (undo_batches, "record_verdicts"),
    "put the task instances back": (restore, "restore_task_instances"),
    "put the runs back": (restore, "restore_runs"),
    "read back": (restore, "differences"),
    "finish the batch": (undo_batches, "finish_batch"),
    "audit": (audit_log, "record"),
    "enter the batch": (batches, "record_batch"),
}


@dataclass(frozen=True)
class Point:
    """A moment in the life of a process: right before or after the ``nth`` time that it takes a step."""

    moment: Moment
    step: str
    function: Function | None
    nth: int

    def __str__(self) -> str:
        return f"{self.moment} «{self.step}» no. {self.nth}"


def run_killed_at(point: Point, work: Callable[[], object]) -> None:
    """Do ``work`` in a process that is killed at the point; one that gets past it is an error."""
    pid = _fork(lambda: _die_at(point), work)
    _, status = os.waitpid(pid, 0)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise AssertionError(f"not killed {point}: the process ended with status {status}")


def run_killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed after some time. Returns whether it was not done by then."""
    pid = _fork(lambda: None, work)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("the process failed before it was killed")
    return os.WIFSIGNALED(status)


def _fork(prepare: Callable[[], None], work: Callable[[], object]) -> int:
    # SQLite's connections must not cross a fork, and PostgreSQL's would be shared.
    settings.Session.remove()
    settings.engine.dispose()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        stop_with_parent(signal.SIGKILL)()
        prepare()
        work()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        # Whatever happens, this copy of the test session goes no further.
        os._exit(status)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(point: Point) -> None:
    if point.function is None:
        _die_at_commit(point)
        return
    module, name = point.function
    real, calls = getattr(module, name), 0

    def hooked(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.nth and point.moment == "before":
            _die()
        result = real(*args, **kwargs)
        if calls == point.nth:
            _die()
        return result

    setattr(module, name, hooked)


def _die_at_commit(point: Point) -> None:
    """Die around the ``nth`` commit of a transaction that changed more than the pause after a batch."""
    commits, changed = 0, False

    def executed(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal changed
        writes = statement.startswith(("INSERT", "UPDATE", "DELETE"))
        changed = changed or (writes and scheduler_pause.name not in statement)

    def committing(connection: Any) -> None:
        nonlocal commits, changed
        commits += changed
        if changed and commits == point.nth and point.moment == "before":
            _die()
        changed = False

    def committed(session: Session) -> None:
        if commits == point.nth:
            _die()

    event.listen(settings.engine, "before_cursor_execute", executed)
    event.listen(settings.engine, "commit", committing)
    event.listen(Session, "after_commit", committed)
